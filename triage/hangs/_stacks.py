"""Stacks for the processes of a sample: by py-spy from outside, or by faulthandler where ptrace is refused."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from triage.hangs._faulthandler import PTRACE_MEND, dump_by_signal
from triage.hangs._names import NOT_PYTHON
from triage.hangs._ptrace import why_no_ptrace
from triage.hangs._pyspy import PYSPY_MISSING, Dump, dump_python, find_pyspy
from triage.hangs._sample import Process, Thread
from triage.machine.asking import ask_all

_AT_ONCE = 4
_PLAIN_SHARE = 0.4  # of the time: stacks of Python alone are quick, and surer than those with native calls
_GONE = {"Z", "X"}
FEWER = "without native calls: "
NO_STACKS = "it has ended and is not yet reaped"


def read_stacks(
    processes: Sequence[Process], *, limit_s: float, stacks_folder: Path | None = None
) -> tuple[Process, ...]:
    """The same processes with the stacks of their threads, or with the reason why there are none.

    First Python's own of every process, then those with native calls, busy processes before idle ones, as far as the
    time goes.
    """
    deadline = time.monotonic() + limit_s
    living = [process for process in processes if process.state not in _GONE]
    refused = why_no_ptrace() or (PYSPY_MISSING if find_pyspy() is None else None)
    if refused:
        dumps = dump_by_signal(living, stacks_folder, limit_s=limit_s)
        for pid, dump in dumps.items():
            dumps[pid] = replace(dump, why=f"{FEWER}{refused}; {PTRACE_MEND}") if dump.threads else dump
    else:
        dumps = _dump_all(living, native=False, limit_s=limit_s * _PLAIN_SHARE)
        python = [process for process in living if dumps[process.pid].threads]
        python.sort(key=partial(_rank, dumps))
        native = _dump_all(python, native=True, limit_s=deadline - time.monotonic())
        for pid, dump in native.items():
            dumps[pid] = dump if dump.threads else replace(dumps[pid], why=f"{FEWER}{dump.why}")
    return tuple(add_stacks(process, dumps.get(process.pid, Dump(why=NO_STACKS))) for process in processes)


def _dump_all(processes: Iterable[Process], *, native: bool, limit_s: float) -> dict[int, Dump]:
    """py-spy's, a few at a time. What none had time for is said."""
    deadline = time.monotonic() + limit_s

    def dump(process: Process) -> Dump:
        left = deadline - time.monotonic() - 0.1  # a late py-spy is killed before this call is given up
        return dump_python(process, native=native, limit_s=left) if left > 0.1 else Dump(why="no time was left")

    answers = ask_all(
        {process.pid: partial(dump, process) for process in processes},
        limit_s=max(0.0, limit_s) + 0.4,
        at_once=_AT_ONCE,
    )
    return answers.given | {pid: Dump(why=why) for pid, why in answers.missing.items()}


def _rank(dumps: dict[int, Dump], process: Process) -> int:
    """Busy ones first: whoever spins in a wait for a device, or holds the GIL, shows why only in native calls."""
    busy = any(thread.state == "R" for thread in process.threads)
    holding = any(thread.holds_gil for thread in dumps[process.pid].threads)
    return 0 if busy or holding else 1


def add_stacks(process: Process, dump: Dump) -> Process:
    """The process with what is known of its stacks. A thread that only the dump knows stands at the end."""
    by_tid = {thread.tid: thread for thread in dump.threads if thread.tid is not None}
    known = {thread.tid for thread in process.threads}
    threads = [
        replace(thread, name=found.name or thread.name, holds_gil=found.holds_gil, frames=found.frames)
        if (found := by_tid.get(thread.tid))
        else thread
        for thread in process.threads
    ]
    threads += [
        Thread(
            tid=found.tid or 0, name=found.name, state="?", cpu_s=0.0, holds_gil=found.holds_gil, frames=found.frames
        )
        for found in dump.threads
        if found.tid not in known
    ]
    error = dump.why if dump.why else None if dump.threads else NOT_PYTHON
    return replace(process, threads=tuple(threads), stack_source=dump.source, stack_error=error)
