"""What all tests share: a cache of tiny checkpoints of their own, and devices that may not be here."""

import os
import tempfile
from pathlib import Path

import pytest

# Before any module of triage asks for it. One folder for the whole run, or the one that the caller names.
os.environ.setdefault("TRIAGE_CACHE", str(Path(tempfile.gettempdir()) / "triage-test-cache"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Golden outputs change only when somebody asks for it."""
    parser.addoption(
        "--refresh-golden", action="store_true", help="write tests/golden/data anew from what comes out now"
    )


def _has_device() -> bool:
    return Path("/dev/kfd").exists() or Path("/dev/nvidiactl").exists()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU say so where there is none."""
    if _has_device():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a HIP or CUDA device: neither /dev/kfd nor /dev/nvidiactl"))
