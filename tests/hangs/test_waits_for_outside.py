"""A tree that somebody outside of it can still help is in no deadlock, however it waits."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hangs.corpus import STALL_S
from triage.hangs import HangClass, HangRecord, watch_command

LOCKS = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX)"
READS_IN_A_LOOP = """
import asyncio, sys

async def main():
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await reader.readline()

asyncio.run(main())
"""


def watch(out: Path, *words: object, stdin: int = subprocess.DEVNULL) -> HangRecord:
    return watch_command([str(word) for word in words], out=out, stall_s=STALL_S, stdin=stdin)


def test_a_file_lock_that_a_stranger_holds_is_no_deadlock_and_he_is_named(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        record = watch(tmp_path, sys.executable, "-c", LOCKS, tmp_path / "lock")
    assert record.diagnosis.hang_class is HangClass.UNKNOWN
    assert f"waits for a file lock that pid {os.getpid()} holds" in record.diagnosis.because[0]


@pytest.mark.parametrize("code", [READS_IN_A_LOOP, "input()"], ids=["by an event loop", "by itself"])
def test_a_program_that_waits_for_its_standard_input_is_in_no_deadlock(tmp_path: Path, code: str) -> None:
    ours, its = os.pipe()
    try:
        record = watch(tmp_path, sys.executable, "-c", code, stdin=ours)
    finally:
        os.close(ours)
        os.close(its)
    assert record.diagnosis.hang_class is HangClass.UNKNOWN
    assert "its standard input, pipe:" in record.diagnosis.because[0]
