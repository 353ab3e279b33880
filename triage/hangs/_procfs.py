"""Single facts from /proc. What has ended or may not be read is None, never an exception."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from functools import cache
from typing import Literal

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LISTEN = "0A"  # the state of a listening socket in /proc/net/tcp
_WAITABLE = (
    "pipe:",
    "socket:",
    "anon_inode:[eventpoll]",
    "anon_inode:[eventfd]",
    "anon_inode:[pidfd]",
    "/dev/kfd",
    "/dev/dri/",
    "/dev/nvidia",
)
_SHARED = ("/dev/shm/",)


@dataclass(frozen=True, kw_only=True)
class Stat:
    """The fields of /proc/PID/stat that matter here."""

    name: str
    state: str
    ppid: int
    cpu_s: float
    start_ticks: int
    rss_bytes: int


def read_bytes(path: str, *, limit: int = 1 << 20) -> bytes | None:
    """The beginning of a file of the kernel's, without the cost of a buffered file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        chunks = []
        while limit > 0 and (chunk := os.read(descriptor, min(limit, 1 << 16))):
            chunks.append(chunk)
            limit -= len(chunk)
        return b"".join(chunks)
    except OSError:  # it ended meanwhile, or is another user's
        return None
    finally:
        os.close(descriptor)


def read_text(path: str) -> str | None:
    """As `read_bytes`; what is no UTF-8 stands as ``\\xNN``."""
    data = read_bytes(path)
    return None if data is None else data.decode(errors="backslashreplace").strip()


def read_stat(path: str) -> Stat | None:
    """Of a process or a thread: ``path`` is its folder in /proc.

    >>> stat = read_stat("/proc/self")
    >>> stat.state, stat.ppid == os.getppid()
    ('R', True)
    """
    text = read_text(f"{path}/stat")
    head, found, tail = (text or "").rpartition(")")
    fields = tail.split()
    if not found or len(fields) < 22:
        return None
    return Stat(
        name=head.partition("(")[2],
        state=fields[0],
        ppid=int(fields[1]),
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        start_ticks=int(fields[19]),
        rss_bytes=max(0, int(fields[21])) * _PAGE,
    )


def read_command(pid: int) -> tuple[str, ...]:
    """The command line; empty for a zombie and a thread of the kernel."""
    data = read_bytes(f"/proc/{pid}/cmdline", limit=1 << 16) or b""
    return tuple(part.decode(errors="backslashreplace") for part in data.rstrip(b"\0").split(b"\0")) if data else ()


def read_status(pid: int) -> dict[str, str]:
    """/proc/PID/status by field."""
    lines = (read_text(f"/proc/{pid}/status") or "").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def list_tasks(pid: int) -> list[int]:
    """The threads of a process, its main thread first."""
    try:
        return sorted((int(name) for name in os.listdir(f"/proc/{pid}/task")), key=lambda tid: (tid != pid, tid))
    except OSError:
        return []


def list_fds(pid: int) -> dict[int, str]:
    """The open files of a process, by descriptor; empty where they may not be read."""
    found = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed between the listing and the reading
                found[int(entry.name)] = os.readlink(entry.path).encode(errors="backslashreplace").decode()
    return dict(sorted(found.items()))


def is_waitable(target: str) -> bool:
    """Whether a descriptor is one that a process may wait on, or that holds a GPU or shared memory.

    >>> is_waitable("pipe:[12]"), is_waitable("/etc/passwd")
    (True, False)
    """
    return target.startswith(_WAITABLE + _SHARED)


@dataclass(frozen=True, kw_only=True)
class FdInfo:
    """How a descriptor was opened, the descriptors that it watches (epoll), the process that it stands for (pidfd)."""

    mode: Literal["r", "w", "rw"] | None = None
    watches: tuple[int, ...] = ()
    pid: int | None = None


def read_fdinfo(pid: int, fd: int) -> FdInfo:
    """What the kernel tells of one descriptor; fields that it does not tell are empty."""
    mode: Literal["r", "w", "rw"] | None = None
    watches, stands_for = [], None
    for line in (read_text(f"/proc/{pid}/fdinfo/{fd}") or "").splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if key == "flags":
            access = int(words[0], 8) & os.O_ACCMODE
            mode = "r" if access == os.O_RDONLY else "w" if access == os.O_WRONLY else "rw"
        elif key == "tfd":
            watches.append(int(words[0]))
        elif key == "Pid":
            stands_for = int(words[0])
    return FdInfo(mode=mode, watches=tuple(sorted(watches)), pid=stands_for)


def read_lock_waits(text: str | None = None) -> dict[int, tuple[int, ...]]:
    """Who waits for a file lock, and who holds it: {pid: holders}, from /proc/locks.

    A holder that cannot be named (an open file description's lock, another pid namespace) is left out.

    >>> held = "1: FLOCK  ADVISORY  WRITE 7 00:24:34 0 EOF"
    >>> read_lock_waits(f"{held}\\n1: -> FLOCK  ADVISORY  WRITE 8 00:24:34 0 EOF")
    {8: (7,)}
    """
    holders: dict[str, int] = {}
    waits: dict[int, tuple[int, ...]] = {}
    for line in ((read_text("/proc/locks") or "") if text is None else text).splitlines():
        number, *fields = line.split()
        waiting = fields[:1] == ["->"]
        with contextlib.suppress(ValueError, IndexError):
            pid = int(fields[4 if waiting else 3])
            if not waiting:
                holders[number] = pid
            elif holders.get(number, 0) > 0:
                waits[pid] = (*waits.get(pid, ()), holders[number])
    return waits


@cache
def _little_endian() -> bool:
    return struct.pack("=H", 1) == struct.pack("<H", 1)


def _read_address(text: str) -> tuple[str, int]:
    """An address as /proc/net/tcp writes it: words of four bytes in the machine's order."""
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[i : i + 8]) for i in range(0, len(host), 8)]
    packed = b"".join(word[::-1] if _little_endian() else word for word in words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed), int(port, 16)


@dataclass(frozen=True, kw_only=True)
class TcpSocket:
    """A row of /proc/PID/net/tcp. ``peer`` is None for a listening socket."""

    port: int
    peer: str | None


def read_tcp(pid: int | str = "self") -> dict[int, TcpSocket]:
    """The TCP sockets of a process's network, by inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        data = read_bytes(f"/proc/{pid}/net/{name}", limit=1 << 23) or b""
        for line in data.decode(errors="replace").splitlines()[1:]:
            fields = line.split()
            with contextlib.suppress(ValueError, IndexError):
                host, port = _read_address(fields[2])
                own = _read_address(fields[1])[1]
                peer = None if fields[3] == _LISTEN else f"{f'[{host}]' if ':' in host else host}:{port}"
                found[int(fields[9])] = TcpSocket(port=own, peer=peer)
    return found
