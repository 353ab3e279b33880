"""Whether a wait ends only by an act of the tree itself: then nobody outside can help."""

from __future__ import annotations

from triage.hangs._pairs import Pairs, ProcessPair, ThreadPair
from triage.hangs._waits import CLOSED, Kind, Wait


def is_closed(pairs: Pairs, process: ProcessPair, thread: ThreadPair, wait: Wait) -> bool:
    """Whether a wait ends only by an act of the tree; what may come from elsewhere, or is not known to, is open."""
    match wait.kind:
        case Kind.READ | Kind.WRITE:
            return bool(list_other_ends(pairs, wait)) and (thread.still or not thread.has_python)
        case Kind.FILE_LOCK:
            return process.stands(thread) and _is_locked_inside(pairs, process)
        case Kind.COLLECTIVE:
            return thread.still and _is_connected_inside(pairs, process)
        case Kind.LOOP:
            return thread.still and _watches_inside(pairs, process, wait)
        case Kind.LOCK | Kind.SHARED_LOCK | Kind.PEER:
            return process.stands(thread)
    return wait.kind in CLOSED


def list_other_ends(pairs: Pairs, wait: Wait) -> list[ProcessPair]:
    """The processes of the tree that hold the other end of the pipe that is read or written."""
    return _list_holders(pairs, wait.target, {"w", "rw"} if wait.kind is Kind.READ else {"r", "rw"})


def _list_holders(pairs: Pairs, target: str | None, modes: set[str]) -> list[ProcessPair]:
    return [
        process
        for process in pairs.processes
        if any(file.target == target and file.mode in modes for file in process.second.files)
    ]


def _is_locked_inside(pairs: Pairs, process: ProcessPair) -> bool:
    """Whether all who hold the file lock that it waits for are of the tree."""
    holders = {*process.first.lock_holders, *process.second.lock_holders}
    return bool(holders) and holders <= {other.pid for other in pairs.processes}


def _is_connected_inside(pairs: Pairs, process: ProcessPair) -> bool:
    """Whether it has a connection to another process of the tree, and none to anybody else."""
    ends = {other.pid: _list_connections(other) for other in pairs.processes}
    inside = {(far, near) for near, far in set().union(*ends.values())}
    others = {(far, near) for pid, own in ends.items() if pid != process.pid for near, far in own}
    return ends[process.pid] <= inside and bool(ends[process.pid] & others)


def _list_connections(process: ProcessPair) -> set[tuple[int, int]]:
    """Its TCP connections: (near port, far port)."""
    return {
        (file.port, int(file.peer.rpartition(":")[2]))
        for file in process.second.files
        if file.port is not None and file.peer is not None and not file.peer.startswith("listens")
    }


def _watches_inside(pairs: Pairs, process: ProcessPair, wait: Wait) -> bool:
    """Whether an event loop watches nothing but its own socket, by which threads wake it, and what the tree holds."""
    loop = process.find_file(wait.fd)
    files = [process.find_file(fd) for fd in (loop.watches if loop else ())]
    sockets = [file for file in files if file is not None and file.target.startswith("socket:")]
    pids = {other.pid for other in pairs.processes}
    for file in files:
        if file is None:
            return False
        if file.target.startswith("pipe:"):
            if not _list_holders(pairs, file.target, {"w", "rw"} if file.mode == "r" else {"r", "rw"}):
                return False
        elif file not in sockets and file.pid not in pids:
            return False
    return len(sockets) == 1
