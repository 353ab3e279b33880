"""Stacks from outside, by py-spy. No process is left stopped that ran, and none goes on that was stopped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from triage.hangs._names import NOT_PYTHON
from triage.hangs._procfs import list_tasks, read_stat, read_status
from triage.hangs._sample import Frame, Process
from triage.machine.asking import Output, run_tool

PYSPY_MISSING = "py-spy is not installed (pip install py-spy)"
_STOPPED = {"T", "t"}
_HELD_UP = _STOPPED | {"D"}  # py-spy would wait for such a thread to stop before it reads


@dataclass(frozen=True, kw_only=True)
class PythonThread:
    """A thread as py-spy saw it. ``tid`` is None where py-spy could not tell the kernel's number."""

    tid: int | None
    name: str
    holds_gil: bool | None
    frames: tuple[Frame, ...]


@dataclass(frozen=True, kw_only=True)
class Dump:
    """The stacks of one process, from whom; or why there are none. ``why`` beside stacks says why they are fewer."""

    threads: tuple[PythonThread, ...] = ()
    source: str | None = None
    why: str | None = None


@cache
def find_pyspy() -> str | None:
    """py-spy of this installation, or the one on the PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    found = beside if os.access(beside, os.X_OK) else shutil.which("py-spy")
    return None if found is None else os.path.abspath(found)


def dump_python(process: Process, *, native: bool, limit_s: float) -> Dump:
    """The Python stacks of a process, with the native calls among them where ``native``.

    A process that is stopped, is traced by another, or waits in state D is read as it stands, without native calls:
    to read those py-spy stops a process first.
    """
    program = find_pyspy()
    if program is None:
        return Dump(why=PYSPY_MISSING)
    standing = _why_standing(process)
    if standing and native:
        return Dump(why=standing)
    options = ["--native"] if native else ["--nonblocking"] if standing else []
    output = _run(program, process, options, limit_s=limit_s)
    if output.text is None and not native and not standing and not output.late:
        # The process may have been stopped in between, or is one that another traces.
        output = _run(program, process, ["--nonblocking"], limit_s=limit_s)
    if output.text is None:
        return Dump(why=NOT_PYTHON if _is_not_python(output.why or "") else output.why)
    try:
        threads = parse_dump(output.text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Dump(why=f"py-spy said what cannot be read: {error}")
    return Dump(threads=threads, source="py-spy --native" if native else "py-spy")


def parse_dump(text: str) -> tuple[PythonThread, ...]:
    """The output of ``py-spy dump --json``: innermost call first. A native call has a module.

    Files are given as py-spy shortens them, from the package on: a record holds no path of a home.

    >>> parse_dump('[{"os_thread_id": 7, "thread_name": "MainThread", "owns_gil": true, "frames": []}]')
    (PythonThread(tid=7, name='MainThread', holds_gil=True, frames=()),)
    """
    return tuple(
        PythonThread(
            tid=thread.get("os_thread_id"),
            name=thread.get("thread_name") or "",
            holds_gil=bool(thread.get("owns_gil")),
            frames=tuple(_read_frame(frame) for frame in thread["frames"]),
        )
        for thread in json.loads(text)
    )


def _read_frame(frame: dict[str, Any]) -> Frame:
    return Frame(
        function=frame["name"],
        file=frame.get("short_filename") or os.path.basename(frame["filename"]),
        line=frame.get("line") or None,
        native=frame.get("module") is not None,
    )


def _why_standing(process: Process) -> str | None:
    if any(thread.state in _STOPPED for thread in process.threads):
        return "the process is stopped"
    if any(thread.state in _HELD_UP for thread in process.threads):
        return "a thread is in state D"
    tracer = read_status(process.pid).get("TracerPid", "0")
    return None if tracer == "0" else f"process {tracer} traces it"


def _run(program: str, process: Process, options: Sequence[str], *, limit_s: float) -> Output:
    ran = {tid for tid in list_tasks(process.pid) if _state(process.pid, tid) not in _STOPPED}
    output = run_tool([program, "dump", "--json", *options, "--pid", str(process.pid)], limit_s=limit_s)
    if output.text is None and ran:
        _let_go_on(process, ran)
    return output


def _state(pid: int, tid: int) -> str:
    stat = read_stat(f"/proc/{pid}/task/{tid}")
    return stat.state if stat else ""


def _let_go_on(process: Process, ran: set[int]) -> None:
    """A py-spy that is killed between its request to stop and the stop leaves the process stopped."""
    for _ in range(5):
        stat = read_stat(f"/proc/{process.pid}")
        if stat is None or stat.start_ticks != process.start_ticks:
            return
        if any(_state(process.pid, tid) == "T" for tid in ran):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGCONT)
            return
        time.sleep(0.01)


def _is_not_python(why: str) -> bool:
    return "Failed to find python version" in why or "Couldn't find libpython" in why
