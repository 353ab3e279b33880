"""What a thread waits for: a lock, a pipe, a child, a lost rank, the clock, somebody outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from triage.hangs._names import (
    COLLECTIVE_FILES,
    COLLECTIVE_PREFIXES,
    LOOPS,
    PEER_WAITS,
    SERVANT_NAMES,
    SERVANT_THREADS,
    WCHAN_CALLS,
    bare_name,
    is_placed,
)
from triage.hangs._pairs import ProcessPair, ThreadPair
from triage.hangs._sample import Frame, OpenFile, Thread

_CALL = re.compile(r"([a-z0-9_]+)(?:\((-?\w+)(?:, ([^)]*))?\))?")
_READS = {"read", "readv", "pread64"}
_WRITES = {"write", "writev", "pwrite64", "sendfile", "splice"}
_CHILD = {"wait4", "waitid"}
_SLEEPS = {"nanosleep", "clock_nanosleep"}
_LOCKS = {"futex", "futex_wait", "futex_waitv"}
_POLLS = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6"}
_FILE_LOCKS = {"flock", "fcntl"}
_MEETINGS = {"accept", "accept4", "recvfrom", "recvmsg", "connect", "sendto", "sendmsg", "openat"}


class Kind(StrEnum):
    """What a thread waits for."""

    STOPPED = "is stopped"
    LOCK = "waits for a lock"
    SHARED_LOCK = "waits for a lock shared between processes"
    FILE_LOCK = "waits for a file lock"
    READ = "reads from"
    WRITE = "writes to"
    CHILD = "waits for a child process"
    PEER = "waits for another process of the program"
    COLLECTIVE = "waits for another rank"
    LOOP = "is an event loop that waits for its next event"
    SERVANT = "only serves others"
    POOL = "is a worker of a native pool"
    TIMED = "waits for a while only"
    OUTSIDE = "waits for something outside of the tree"
    UNKNOWN = "waits for something that is not known"


# Waits that end only if another thread or process of the tree acts, as far as each wait alone can tell.
CLOSED = frozenset(
    {
        Kind.STOPPED, Kind.LOCK, Kind.SHARED_LOCK, Kind.FILE_LOCK, Kind.READ, Kind.WRITE, Kind.CHILD, Kind.PEER,
        Kind.COLLECTIVE, Kind.LOOP, Kind.SERVANT, Kind.POOL,
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Wait:
    """What one thread waits for.

    ``call`` is the system call and ``fd`` its descriptor, which leads to ``target``, a pipe say; ``place`` is the call
    of Python that waits.
    """

    kind: Kind
    call: str | None = None
    fd: int | None = None
    target: str | None = None
    place: Frame | None = None


def read_wait(process: ProcessPair, thread: ThreadPair) -> Wait:
    """What a thread waited for in both samples; UNKNOWN where they differ or do not tell."""
    first, second = _read(process, thread, thread.first), _read(process, thread, thread.second)
    if first.kind is second.kind and first.target == second.target:
        return second
    # A debugger's visit makes a sleep or a poll `restart_syscall`: what either sample knows holds, if it is harmless.
    for wait in (first, second):
        if wait.kind is Kind.TIMED:
            return wait
    return Wait(kind=Kind.UNKNOWN, place=second.place)


def _read(process: ProcessPair, pair: ThreadPair, thread: Thread) -> Wait:
    place = next((frame for frame in thread.frames if not frame.native), None)
    if thread.state == "T":
        return Wait(kind=Kind.STOPPED, place=place)
    if thread.state in {"R", "S", "D"} and _is_servant(process, pair, thread):  # it may look around now and then
        return Wait(kind=Kind.SERVANT, place=place)
    if thread.state not in {"S", "D"}:
        return Wait(kind=Kind.UNKNOWN, place=place)
    return _read_sleeping(process, pair, thread, place)


def _is_servant(process: ProcessPair, pair: ThreadPair, thread: Thread) -> bool:
    """Whether it only serves other threads: by its stack, or by the name that its library gives it."""
    if any(is_placed(frame, SERVANT_THREADS) for frame in thread.frames):
        return True
    return thread.tid != process.pid and thread.name.startswith(SERVANT_NAMES) and not _is_python(pair)


def _read_sleeping(process: ProcessPair, pair: ThreadPair, thread: Thread, place: Frame | None) -> Wait:
    """What a thread waits for that is asleep in the kernel."""
    call, argument, more = read_call(thread)
    fd = int(argument) if argument is not None and argument.isdigit() and call not in _CHILD else None
    file = process.find_file(fd)
    target = file.target if file else None
    if thread.tid == process.pid and any(_is_collective(frame) for frame in thread.frames):
        return Wait(kind=Kind.COLLECTIVE, place=place)
    if any(is_placed(frame, PEER_WAITS) for frame in thread.frames):
        return Wait(kind=Kind.PEER, target=target, place=place)
    kind = Kind.LOOP if _is_loop(pair, file, more) else _judge_call(process, pair, call, target, more)
    return Wait(kind=kind, call=call, fd=fd, target=target, place=place)


def read_call(thread: Thread) -> tuple[str | None, str | None, str]:
    """The system call, what it is about, and what else is said of it.

    >>> read_call(Thread(tid=1, name="", state="S", cpu_s=0.0, syscall="futex(0x7f10, shared, for ever)"))
    ('futex', '0x7f10', 'shared, for ever')
    """
    found = _CALL.fullmatch(thread.syscall or "")
    if found and found[1] not in {"restart_syscall", "syscall"}:
        return found[1], found[2], found[3] or ""
    # A compiler's copy of a function has a suffix: poll_schedule_timeout.constprop.0.
    return WCHAN_CALLS.get((thread.wchan or "").partition(".")[0]), None, ""


def _judge_call(process: ProcessPair, pair: ThreadPair, call: str | None, target: str | None, more: str) -> Kind:
    """From the system call and its descriptor to what is waited for."""
    is_pipe = (target or "").startswith("pipe:")
    kinds = {
        **dict.fromkeys(_CHILD, Kind.CHILD),
        **dict.fromkeys(_SLEEPS, Kind.TIMED),
        **dict.fromkeys(_FILE_LOCKS, Kind.FILE_LOCK),
        **dict.fromkeys(_READS, Kind.READ if is_pipe else Kind.OUTSIDE if target else Kind.UNKNOWN),
        **dict.fromkeys(_WRITES, Kind.WRITE if is_pipe else Kind.OUTSIDE if target else Kind.UNKNOWN),
        **dict.fromkeys(_LOCKS, _judge_lock(process, pair, more)),
        **dict.fromkeys(_POLLS, Kind.TIMED if "timed" in more else Kind.OUTSIDE),
        **dict.fromkeys(_MEETINGS, Kind.OUTSIDE),
    }
    return kinds.get(call or "", Kind.UNKNOWN)


def _judge_lock(process: ProcessPair, pair: ThreadPair, more: str) -> Kind:
    """A wait on a word of memory ends by another thread; with a time limit it ends by itself."""
    if "for ever" not in more:
        return Kind.TIMED if "timed" in more else Kind.UNKNOWN
    if not pair.has_python and not process.native:  # in a process of Python: OpenMP, BLAS, a runtime's own
        is_main = pair.second.tid == process.pid
        return Kind.UNKNOWN if is_main or _is_python(pair) else Kind.POOL
    return Kind.SHARED_LOCK if "shared" in more else Kind.LOCK


def _is_python(pair: ThreadPair) -> bool:
    """Whether it runs Python, be its stack known or missing: py-spy tells of such threads alone who holds the GIL."""
    return pair.has_python or pair.first.holds_gil is not None or pair.second.holds_gil is not None


def _is_loop(pair: ThreadPair, file: OpenFile | None, more: str) -> bool:
    """Whether it is an event loop without a timer, of which is known what it watches."""
    runs = any(is_placed(frame, LOOPS) for frame in pair.second.frames)
    return runs and "for ever" in more and file is not None and bool(file.watches)


def _is_collective(frame: Frame) -> bool:
    if frame.native:
        return bare_name(frame.function).startswith(COLLECTIVE_PREFIXES)
    return f"/{frame.file}".endswith(tuple(f"/{file}" for file in COLLECTIVE_FILES))
