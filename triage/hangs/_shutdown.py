"""Whether a process is done, and only its threads or children keep it."""

from __future__ import annotations

from collections.abc import Iterator

from triage.hangs._deadlock import Finding
from triage.hangs._names import NATIVE_SHUTDOWN, SHUTDOWN, is_named, is_placed
from triage.hangs._pairs import Pairs, ProcessPair, ThreadPair
from triage.hangs._sample import Frame, Thread

_HELD_LINES = 8


def find_shutdown(pairs: Pairs) -> Finding:
    """Looks for a process whose main thread is past its program's last line, or is gone, in both samples.

    Something must be seen to keep it: a thread of its own, or a child. A process that is stopped is not shutting down.
    """
    for process in pairs.processes:
        if (end := _find_end(process)) is None:
            continue
        if any(other.stopped for other in pairs.processes):
            continue
        kept = [*_list_threads(process), *_list_children(pairs, process)]
        if not kept:
            return Finding(decided=False, because=(f"{process}: {end}", "Nothing is seen that keeps it."))
        above = pairs.list_ancestors(process.pid)
        waiting = tuple(f"{other} is above it." for other in pairs.processes if other.pid in above)
        return Finding(decided=True, because=(f"{process}: {end}", *kept[:_HELD_LINES], *waiting))
    return Finding(decided=False, because=())


def _find_end(process: ProcessPair) -> str | None:
    """The words for a main thread that is done."""
    main = process.main
    if main is None:
        return None
    if main.in_states("Z"):
        return "its main thread has ended, and the process goes on."
    first, second = _find_frame(main.first), _find_frame(main.second)
    if first is None or first != second or not main.still or not main.in_states("SD"):
        return None
    return f"its main thread is at its end in both samples, in {second}."


def _find_frame(thread: Thread) -> Frame | None:
    return next((f for f in thread.frames if is_placed(f, SHUTDOWN) or is_named(f, NATIVE_SHUTDOWN)), None)


def _list_threads(process: ProcessPair) -> Iterator[str]:
    """Its other threads that run Python, and where they stand."""
    main_is_gone = process.main is not None and process.main.in_states("Z")
    for thread in process.threads:
        if thread.second.tid != process.pid and thread.second.state not in "ZX" and (thread.has_python or main_is_gone):
            yield f"Thread {thread.second.name or thread.second.tid} keeps it{_say_place(thread)}."


def _list_children(pairs: Pairs, process: ProcessPair) -> Iterator[str]:
    for child in pairs.processes:
        if child.second.ppid == process.pid:
            main = child.main
            yield f"Its child {child} is alive{_say_place(main) if main else ''}."


def _say_place(thread: ThreadPair) -> str:
    frame = next((frame for frame in thread.second.frames if not frame.native), None)
    where = thread.second.wchan or thread.second.syscall
    return f"{f', in {frame}' if frame else ''} (state {thread.second.state}{f', {where}' if where else ''})"
