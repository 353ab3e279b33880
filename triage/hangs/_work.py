"""Reads what a process tree does, from /proc: a cheap look at each process, and a close one at each thread.

The cheap look is all that a healthy command pays for.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

from triage.hangs._progress import BUSY_SHARE, ProcessWork, ThreadWork

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CLOSE_MOST = 20_000  # threads: beyond that a look at each would itself be the load
_FORGET_EVERY = 20  # looks: a pid that was another's may be the tree's today


@dataclass(slots=True)
class _Seen:
    start_ticks: int
    own_s: float
    children_s: float


@dataclass(frozen=True, kw_only=True)
class Look:
    """The tree at one moment; the CPU time is what was used since the look before."""

    processes: int
    rss_bytes: int
    cpu_s: float
    interval_s: float
    busy: bool


@dataclass(slots=True)
class _Close:
    at_s: float
    threads: dict[tuple[int, int], tuple[int, int]]  # (pid, tid) -> (CPU in ns, wake-ups)
    io_bytes: dict[int, int]
    cpu_s: dict[int, tuple[float, float]]  # its own, and that of its ended children


class WorkReader:
    """Follows the tree below a process, without that process."""

    def __init__(self, root: int, *, now_s: float) -> None:
        self._root = root
        self._strangers: set[str] = set()
        self._seen: dict[int, _Seen] = {}
        self._children_s = 0.0
        self._at_s = now_s
        self._looks = 0
        self._close: _Close | None = None

    @property
    def pids(self) -> list[int]:
        """The tree at the last look."""
        return list(self._seen)

    def kill(self) -> None:
        """Kills the tree of the last look: whoever should have ended it is gone, and so is the tie to its root."""
        for pid, seen in self._seen.items():
            fields = _read_stat(str(pid))
            if fields is not None and int(fields[19]) == seen.start_ticks:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def look(self, now_s: float) -> Look:
        """What the processes of the tree did since the look before."""
        self._looks += 1
        if self._looks % _FORGET_EVERY == 0:
            self._strangers.clear()
        stats = self._read_tree()
        interval_s = max(1e-3, now_s - self._at_s)
        own_s = children_s = rss = total_s = 0.0
        seen: dict[int, _Seen] = {}
        for pid, fields in stats.items():
            start = int(fields[19])
            own, reaped = (int(fields[11]) + int(fields[12])) * _TICK_S, (int(fields[13]) + int(fields[14])) * _TICK_S
            before = self._seen.get(pid)
            known = before is not None and before.start_ticks == start
            own_s += own - (before.own_s if known and before else 0.0)
            children_s += reaped - (before.children_s if known and before else 0.0)
            rss += int(fields[21]) * _PAGE_BYTES
            seen[pid] = _Seen(start, own, reaped)
        # A child that ended leaves its time with whoever reaped it; what was counted while it lived goes off.
        ended_s = sum(old.own_s + old.children_s for pid, old in self._seen.items() if pid not in seen)
        total_s = max(0.0, own_s + max(0.0, children_s - ended_s))
        self._seen, self._at_s = seen, now_s
        busy = own_s >= BUSY_SHARE * interval_s + _TICK_S or total_s >= BUSY_SHARE * interval_s + _TICK_S
        return Look(processes=len(seen), rss_bytes=int(rss), cpu_s=total_s, interval_s=interval_s, busy=busy)

    def look_close(self, now_s: float) -> tuple[float, list[ProcessWork]] | None:
        """What each thread did since the close look before, and in how many seconds; None at the first."""
        close = _Close(now_s, {}, {}, {})
        for pid in self._seen:
            close.io_bytes[pid] = _read_io(pid)
            close.cpu_s[pid] = (self._seen[pid].own_s, self._seen[pid].children_s)
            if len(close.threads) < _CLOSE_MOST:
                _read_threads(pid, close.threads)
        before, self._close = self._close, close
        return None if before is None else (now_s - before.at_s, _compare(before, close))

    def forget_close(self) -> None:
        """The next close look has none before it."""
        self._close = None

    def _read_tree(self) -> dict[int, list[bytes]]:
        """Fields of /proc/PID/stat from the state on, by pid; every process is read once, strangers never again."""
        names = {name for name in os.listdir("/proc") if name.isdigit()}
        self._strangers &= names
        parents: dict[int, int] = {}
        stats: dict[int, list[bytes]] = {}
        for name in names - self._strangers:
            fields = _read_stat(name)
            if fields is not None:
                stats[int(name)] = fields
                parents[int(name)] = int(fields[1])
        tree = {self._root}
        grew = True
        while grew:
            found = {pid for pid, parent in parents.items() if parent in tree and pid not in tree}
            tree |= found
            grew = bool(found)
        # One whose parent ended while the table was read may come back to the root.
        self._strangers |= {str(pid) for pid in stats if pid not in tree and str(parents[pid]) in names}
        return {pid: fields for pid, fields in stats.items() if pid in tree and pid != self._root}


def _read_bytes(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def _read_stat(name: str) -> list[bytes] | None:
    try:
        text = _read_bytes(f"/proc/{name}/stat")
    except OSError:  # it has ended
        return None
    fields = text[text.rfind(b")") + 2 :].split()
    return fields if len(fields) > 21 and fields[0] not in (b"Z", b"X") else None


def _read_io(pid: int) -> int:
    """Bytes that went through system calls, or came from or went to a disk."""
    try:
        text = _read_bytes(f"/proc/{pid}/io")
    except OSError:  # ended, or of another user
        return 0
    fields = dict(line.split(b": ") for line in text.splitlines() if b": " in line)
    called = int(fields.get(b"rchar", 0)) + int(fields.get(b"wchar", 0))
    return called + int(fields.get(b"read_bytes", 0)) + int(fields.get(b"write_bytes", 0))


def _read_threads(pid: int, into: dict[tuple[int, int], tuple[int, int]]) -> None:
    try:
        tids = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for tid in tids:
        try:
            ran_ns, _, wakes = _read_bytes(f"/proc/{pid}/task/{tid}/schedstat").split()
        except (OSError, ValueError):  # ended; or a kernel that does not count
            continue
        into[pid, int(tid)] = (int(ran_ns), int(wakes))


def _compare(before: _Close, now: _Close) -> list[ProcessWork]:
    threads: dict[int, list[ThreadWork]] = {}
    for (pid, tid), (ran_ns, wakes) in now.threads.items():
        old_ns, old_wakes = before.threads.get((pid, tid), (0, 0))
        if ran_ns > old_ns:
            work = ThreadWork(cpu_s=(ran_ns - old_ns) / 1e9, wakes=max(1, wakes - old_wakes))
            threads.setdefault(pid, []).append(work)
    return [
        ProcessWork(
            cpu_s=max(0.0, own_s - before.cpu_s.get(pid, (0.0, 0.0))[0]),
            ended_s=max(0.0, ended_s - before.cpu_s.get(pid, (0.0, 0.0))[1]),
            io_bytes=max(0, now.io_bytes[pid] - before.io_bytes.get(pid, now.io_bytes[pid])),
            threads=tuple(threads.get(pid, ())),
        )
        for pid, (own_s, ended_s) in now.cpu_s.items()
    ]
