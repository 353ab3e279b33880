"""The labelled programs beside this file, each run under `triage watch` as a user would."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from triage.hangs import HangClass, HangRecord, read_record

PROGRAMS = Path(__file__).with_name("programs")
STALL_S = 3.0
ENOUGH_S = 9.0  # for those that never stall
SLOW_IMPORT_S = 15.0  # torch, twice
GROUP_BYTES = 64 << 20

_IMPORTS_TORCH = {"lost_rank", "rank_that_left"}


@dataclass(frozen=True, kw_only=True)
class Program:
    """A file and what its first line says of it."""

    path: Path
    label: HangClass

    @property
    def name(self) -> str:
        return self.path.stem

    def build(self, folder: str) -> tuple[str, ...]:
        """The command that runs it. A program in C is compiled first."""
        if self.path.suffix != ".c":
            return (sys.executable, str(self.path))
        built = f"{folder}/{self.path.stem}"
        subprocess.run(["cc", "-pthread", "-o", built, self.path], check=True)
        return (built,)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What `triage watch` left of a program."""

    program: Program
    exit_code: int
    record: HangRecord
    stderr: str


def list_programs() -> list[Program]:
    """Every program; the word before the first colon is its label."""
    return [
        Program(path=path, label=HangClass(path.read_text(encoding="utf-8").lstrip('"/* ').partition(":")[0]))
        for path in sorted(PROGRAMS.glob("*.*"))
    ]


def watch_program(program: Program) -> Watched:
    """Runs a program under the watch, in a group of little memory where it wants to be killed for it."""
    stall_s = SLOW_IMPORT_S if program.name in _IMPORTS_TORCH else STALL_S
    timeout_s = ENOUGH_S if program.label is HangClass.SLOW_PROGRESS else 300.0
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        command = program.build(folder)
        if program.label is HangClass.OOM_KILLED:
            group = stack.enter_context(make_memory_group(GROUP_BYTES))
            command = ("sh", "-c", f"echo $$ > {group}/cgroup.procs && exec {' '.join(command)}")
        options = ["--stall-s", str(stall_s), "--timeout-s", str(timeout_s), "--out", folder]
        done = subprocess.run(
            [sys.executable, "-m", "triage.cli", "watch", *options, "--", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        record = read_record(Path(folder) / "hang.json")
    return Watched(program=program, exit_code=done.returncode, record=record, stderr=done.stderr)


@contextlib.contextmanager
def make_memory_group(limit_bytes: int) -> Iterator[Path]:
    """A control group with that much memory and no swap. Raises `OSError` where none may be made."""
    old = Path("/sys/fs/cgroup/memory")
    root, limit = (old, "memory.limit_in_bytes") if old.is_dir() else (Path("/sys/fs/cgroup"), "memory.max")
    group = root / f"triage-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(str(limit_bytes), encoding="ascii")
        for name in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
            if (group / name).exists():
                (group / name).write_text("0" if name == "memory.swap.max" else str(limit_bytes), encoding="ascii")
        yield group
    finally:
        group.rmdir()


def why_not_here(program: Program) -> str | None:
    """Why a program cannot be run here; None where it can."""
    if program.path.suffix == ".c" and shutil.which("cc") is None:
        return "no C compiler is installed"
    return _why_no_memory_group() if program.label is HangClass.OOM_KILLED else None


@cache
def _why_no_memory_group() -> str | None:
    try:
        with make_memory_group(GROUP_BYTES):
            return None
    except OSError as error:
        return f"no memory group can be made here: {error}"
