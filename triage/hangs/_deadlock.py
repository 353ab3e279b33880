"""Whether nothing in the tree can go on, because each waits for another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from triage.hangs._closed import is_closed, list_other_ends
from triage.hangs._device import opens_gpu
from triage.hangs._names import SERVANTS
from triage.hangs._pairs import Pairs, ProcessPair, ThreadPair
from triage.hangs._sample import OpenFile
from triage.hangs._waits import CLOSED, Kind, Wait, read_call, read_wait

_STREAMS = {0: "input", 1: "output", 2: "error output"}
_HELD_LINES = 12  # a tree of a hundred workers waits in a hundred like ways


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found: lines that can be quoted. ``decided`` is False where they only say why it is not decided."""

    decided: bool
    because: tuple[str, ...]


def find_deadlock(pairs: Pairs) -> Finding:
    """Looks for a reason for which the whole tree stands still.

    A stopped process, one whose GIL is held in native code, and one whose threads all wait for locks of its own
    cannot go on whatever the others do; processes above and below such a one wait for it, in whatever way. Without
    such a process every thread of the tree must wait for something that only the tree itself could give.
    """
    waits = {process.pid: _list_waits(process) for process in pairs.processes}
    stuck = {process.pid: line for process in pairs.processes if (line := _find_own_reason(process, waits))}
    related = {pid for own in stuck for pid in (own, *pairs.list_ancestors(own), *pairs.list_descendants(own))}
    for process in pairs.processes:
        open_waits = list(_tell_open(process, waits[process.pid], pairs))
        if not process.threads and process.pid not in stuck:
            return Finding(decided=False, because=(f"Nothing is known of the threads of {process}.",))
        if process.pid in related and process.states_known:
            continue
        if doubt := _find_gpu_doubt(process):
            return Finding(decided=False, because=(doubt,))
        if open_waits:
            return Finding(decided=False, because=(f"{process} may go on: {open_waits[0]}.",))
    lines = [*stuck.values(), *_tell_waits(pairs, waits, skip=set(stuck))]
    if not stuck and not any(_is_reason(wait) for own in waits.values() for _, wait in own):
        return Finding(decided=False, because=("Nothing in the tree is seen to wait for another part of it.",))
    idle = f"The tree used {pairs.cpu_s:.2f} s of CPU time in the {pairs.interval_s:.1f} s between the samples."
    return Finding(decided=True, because=(*lines[:_HELD_LINES], idle))


def _list_waits(process: ProcessPair) -> list[tuple[ThreadPair, Wait]]:
    return [(thread, read_wait(process, thread)) for thread in process.threads]


def _find_own_reason(process: ProcessPair, waits: Mapping[int, list[tuple[ThreadPair, Wait]]]) -> str | None:
    """Why this process cannot go on, whatever the others do."""
    if process.stopped:
        return f"{process} is stopped (state T) in both samples."
    if holder := _find_gil_holder(process):
        return (
            f"{process}: thread {_name(holder)} holds the GIL in {_tell_call(holder)}, asleep in both samples, "
            f"and its other threads of Python wait for it."
        )
    own = [(thread, wait) for thread, wait in waits[process.pid] if wait.kind is not Kind.POOL]
    if (
        own
        and _find_gpu_doubt(process) is None
        and all(wait.kind is Kind.LOCK and process.stands(thread) for thread, wait in own)
        and _threads_stay(process)
    ):
        told = "; ".join(f"thread {_name(thread)} in {_place(wait)}" for thread, wait in own)
        return f"{process}: every thread waits for a lock that only another of its threads could release: {told}."
    return None


def _find_gpu_doubt(process: ProcessPair) -> str | None:
    """Why a thread without a stack may wait for a GPU. A process whose open files are not known may hold one."""
    if process.stopped or _is_servant(process):
        return None
    if opens_gpu(process.first) or opens_gpu(process.second):
        return f"{process} holds a GPU, and its native threads may wait for it."
    if not process.first.files or not process.second.files:
        return f"The open files of {process} are not known, so that it may hold a GPU."
    return None


def _find_gil_holder(process: ProcessPair) -> ThreadPair | None:
    """A thread that sleeps in native code with the GIL while others want it."""
    others = [thread for thread in process.threads if thread.has_python and not _holds_gil(thread)]
    for thread in process.threads:
        calls = {read_call(side)[0] for side in (thread.first, thread.second)}
        if _holds_gil(thread) and thread.in_states("S") and thread.still and others and "ioctl" not in calls:
            return thread  # an ioctl is a driver's, a GPU's most of all
    return None


def _tell_call(thread: ThreadPair) -> str:
    """The innermost call that has a name, and the line of Python that made it."""
    frames = thread.second.frames
    named = next((frame for frame in frames if not frame.function.startswith("0x")), frames[0])
    own = next((frame for frame in frames if not frame.native), named)
    return str(named) if named is own else f"{named}, called by {own}"


def _holds_gil(thread: ThreadPair) -> bool:
    return thread.first.holds_gil is True and thread.second.holds_gil is True


def _tell_open(process: ProcessPair, waits: list[tuple[ThreadPair, Wait]], pairs: Pairs) -> Iterator[str]:
    """The waits of a process that may end without the rest of the tree, in words."""
    if process.stopped or _is_servant(process):
        return
    for thread, wait in waits:
        if not is_closed(pairs, process, thread, wait):
            yield f"its {_say(process, thread, wait, pairs)}"
    if not _threads_stay(process):
        yield "its threads are not the same in both samples"


def _is_reason(wait: Wait) -> bool:
    """A child that is waited for, a pool and a servant are no reason by themselves."""
    return wait.kind in CLOSED - {Kind.CHILD, Kind.POOL, Kind.SERVANT}


def _is_servant(process: ProcessPair) -> bool:
    return any(name in part for part in process.second.command for name in SERVANTS)


def _threads_stay(process: ProcessPair) -> bool:
    return {t.tid for t in process.first.threads} == {t.tid for t in process.second.threads}


def _tell_waits(pairs: Pairs, waits: Mapping[int, list[tuple[ThreadPair, Wait]]], *, skip: set[int]) -> Iterator[str]:
    """Who waits for what, the most telling first."""
    told = [
        (not _is_reason(wait), f"{process}: {_say(process, thread, wait, pairs)}")
        for process in pairs.processes
        if process.pid not in skip and not _is_servant(process)
        for thread, wait in waits[process.pid]
        if wait.kind not in {Kind.POOL, Kind.SERVANT} and (thread.has_python or thread.second.tid == process.pid)
    ]
    return (f"{line}." for _, line in sorted(told, key=lambda pair: pair[0]))


def _say(process: ProcessPair, thread: ThreadPair, wait: Wait, pairs: Pairs) -> str:
    where = thread.second.wchan or thread.second.syscall
    kernel = f"state {thread.second.state}{f', {where}' if where else ''}"
    return f"thread {_name(thread)}, in {_place(wait)}, {_tell_object(process, wait, pairs)} ({kernel})"


def _tell_object(process: ProcessPair, wait: Wait, pairs: Pairs) -> str:
    """What is waited for, by its name where it has one."""
    if wait.kind is Kind.FILE_LOCK and process.second.lock_holders:
        return f"{wait.kind} that pid {', '.join(map(str, process.second.lock_holders))} holds"
    file = process.find_file(wait.fd)
    if file is None:
        return str(wait.kind)
    if wait.kind is Kind.LOOP:
        watched = [_tell_file(found) for fd in file.watches if (found := process.find_file(fd))]
        return f"{wait.kind}, of {', '.join(watched) or 'something that is not known'}"
    if wait.kind is Kind.OUTSIDE:
        return f"{wait.kind}: {wait.call} on {_tell_file(file)}"
    if wait.kind in {Kind.READ, Kind.WRITE}:
        ends = ", ".join(map(str, list_other_ends(pairs, wait))) or "nobody in the tree"
        return f"{wait.kind} {_tell_file(file)}, whose other end is held by {ends}"
    return str(wait.kind)


def _tell_file(file: OpenFile) -> str:
    stream = _STREAMS.get(file.fd)
    return (f"its standard {stream}, " if stream else "") + file.target + (f" ({file.peer})" if file.peer else "")


def _place(wait: Wait) -> str:
    return str(wait.place) if wait.place else "native code"


def _name(thread: ThreadPair) -> str:
    """Threads of Python have names of their own, others most often that of their program."""
    name = thread.second.name
    return name if name and thread.has_python else f"{name} {thread.second.tid}".lstrip()
