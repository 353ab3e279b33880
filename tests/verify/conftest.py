"""A repository of its own for each test, and one real capture of the environment for all of them."""

from functools import cache
from pathlib import Path

import pytest

from tests.verify.repository import Repository
from triage.settings import capture_environment
from triage.verify import _environment as environment

_capture_once = cache(capture_environment)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture(autouse=True)
def _one_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes more than a second, and the machine stays the same."""
    monkeypatch.setattr(environment, "capture_environment", _capture_once)
