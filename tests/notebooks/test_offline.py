"""A run needs no network and asks for none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.notebooks.shelf import Shelf, code

# Python looks for it in every process, kernel and worker alike.
LISTENER = """
import os, sys
def listen(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        where = arguments[1][0]
    elif event == "socket.getaddrinfo":
        where = arguments[0]
    else:
        return
    if where not in {"127.0.0.1", "::1", "localhost", None}:
        with open(os.environ["TRIAGE_TEST_ASKED"], "a") as file:
            print(where, file=file)
sys.addaudithook(listen)
"""
CURIOUS = """
import socket
try:
    socket.create_connection(("192.0.2.1", 9), timeout=1)
except OSError as error:
    print(error)
"""


@pytest.fixture
def offline(tmp_path: Path):
    """Runs a command where there is no network, not even a loopback; returns it and whom it asked."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(LISTENER)
    asked = tmp_path / "asked"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "TRIAGE_TEST_ASKED": str(asked)}
    possible = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if possible.returncode:
        pytest.skip(f"a namespace without a network is not permitted here: {possible.stderr.strip()}")

    def run(*arguments: object) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        command = ["unshare", "--net", sys.executable, "-m", "triage.cli", *map(str, arguments)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        return ended, asked.read_text().split() if asked.exists() else []

    return run


def test_a_run_works_without_a_network_and_asks_nobody(offline, shelf: Shelf, tmp_path: Path) -> None:
    shelf.add("quiet", code("import pandas as pd\nshow_table(pd.DataFrame({'a': [1]}), caption='One')"))
    ended, asked = offline("run", "--catalogue", shelf.folder, "--out", tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    assert asked == []


def test_a_notebook_that_asks_for_somebody_is_caught_asking(offline, shelf: Shelf, tmp_path: Path) -> None:
    """Else the silence above would prove nothing."""
    shelf.add("curious", code(CURIOUS.strip()))
    ended, asked = offline("run", "--catalogue", shelf.folder, "--out", tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    assert set(asked) == {"192.0.2.1"}
