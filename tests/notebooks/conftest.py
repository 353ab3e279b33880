"""A shelf of cases, and a look at what still runs."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.notebooks.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "catalogue")


@pytest.fixture
def find_processes() -> Callable[[str], list[psutil.Process]]:
    """Finds living processes by an argument of their command line."""

    def find(argument: str) -> list[psutil.Process]:
        living = (p for p in psutil.process_iter(["cmdline", "status"]) if p.info["status"] != psutil.STATUS_ZOMBIE)
        return [process for process in living if argument in (process.info["cmdline"] or [])]

    return find
