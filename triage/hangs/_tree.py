"""What the kernel knows of the processes of a tree: states, threads, waits and open files. No process is touched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial

from triage.hangs._procfs import (
    TcpSocket,
    is_waitable,
    list_fds,
    list_tasks,
    read_bytes,
    read_command,
    read_fdinfo,
    read_lock_waits,
    read_stat,
    read_tcp,
    read_text,
)
from triage.hangs._sample import OpenFile, Process, Thread
from triage.hangs._syscalls import describe_syscall
from triage.machine.asking import ask_all

_STREAMS = {0, 1, 2}  # wherever they lead: a process without any open file is one whose files could not be read
_FILES = 512  # of one process: a server may hold ten thousand sockets
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def read_thread(pid: int, tid: int) -> Thread | None:
    """One thread, without its stack; None where it has ended."""
    folder = f"/proc/{pid}/task/{tid}"
    stat = read_stat(folder)
    if stat is None:
        return None
    wchan = read_text(f"{folder}/wchan")
    call = read_text(f"{folder}/syscall")
    return Thread(
        tid=tid,
        name=stat.name,
        state=stat.state,
        cpu_s=stat.cpu_s,
        wchan=None if wchan in {None, "", "0"} else wchan,
        syscall=None if call is None else describe_syscall(call),
    )


def read_files(pid: int, *, sockets: dict[int, TcpSocket] | None = None, mapped: bool = True) -> tuple[OpenFile, ...]:
    """The descriptors that a process may wait on, its streams, GPU devices and shared memory; at most 512.

    Shared memory that is mapped and closed has no descriptor: it is found among the mappings, with the ``fd`` -1.
    """
    found: list[OpenFile] = []
    for fd, target in list_fds(pid).items():
        if (is_waitable(target) or fd in _STREAMS) and len(found) < _FILES:
            socket = _SOCKET.fullmatch(target)
            tcp = (sockets or {}).get(int(socket[1])) if socket else None
            peer = None if tcp is None else tcp.peer or f"listens on {tcp.port}"
            info = read_fdinfo(pid, fd)
            found.append(
                OpenFile(
                    fd=fd,
                    target=target,
                    mode=info.mode,
                    peer=peer,
                    port=tcp.port if tcp else None,
                    watches=info.watches,
                    pid=info.pid,
                )
            )
    held = {file.target for file in found}
    others = sorted(path for path in read_mapped_shm(pid) if path not in held) if mapped else []
    return (*found, *(OpenFile(fd=-1, target=path) for path in others[: _FILES - len(found)]))


def read_mapped_shm(pid: int) -> set[str]:
    """The files in /dev/shm that a process has mapped."""
    data = read_bytes(f"/proc/{pid}/maps", limit=1 << 24) or b""
    if b"/dev/shm/" not in data:
        return set()
    rows = (row.partition(b"/dev/shm/") for row in data.splitlines())
    return {f"/dev/shm/{tail.decode(errors='backslashreplace')}" for _, found, tail in rows if found}


def read_process(
    pid: int,
    *,
    sockets: dict[int, TcpSocket] | None = None,
    lock_waits: Mapping[int, tuple[int, ...]] | None = None,
) -> Process | None:
    """One process with its threads and files, without stacks; None where it has ended.

    Its command line and mappings are read under a lock of its memory, for which a process in state D may keep a
    reader waiting: they are left out there.

    >>> import os
    >>> me = read_process(os.getpid())
    >>> me.threads[0].tid == me.pid == os.getpid()
    True
    """
    stat = read_stat(f"/proc/{pid}")
    if stat is None:
        return None
    threads = tuple(thread for tid in list_tasks(pid) if (thread := read_thread(pid, tid)) is not None)
    memory = all(thread.state != "D" for thread in threads)
    return Process(
        pid=pid,
        ppid=stat.ppid,
        name=stat.name,
        command=read_command(pid) if memory else (),
        state=stat.state,
        cpu_s=stat.cpu_s,
        rss_bytes=stat.rss_bytes,
        start_ticks=stat.start_ticks,
        threads=threads,
        files=read_files(pid, sockets=sockets, mapped=memory),
        lock_holders=(lock_waits or {}).get(pid, ()),
    )


def read_tree(pids: Iterable[int], *, limit_s: float = 3.0) -> tuple[tuple[Process, ...], dict[int, str]]:
    """Every process of a list that is still there, in its order, and why one could not be read.

    One that cannot be read holds up no other.
    """
    wanted = list(dict.fromkeys(pids))
    if not wanted:
        return (), {}
    read = partial(read_process, sockets=read_tcp(), lock_waits=read_lock_waits())
    answers = ask_all({pid: partial(read, pid) for pid in wanted}, limit_s=limit_s)
    found = (answers.given.get(pid) for pid in wanted)
    return tuple(process for process in found if process is not None), answers.missing


def read_listening_ports(pids: Iterable[int]) -> frozenset[int]:
    """The TCP ports that processes of a list listen on."""
    listening = {inode: socket.port for inode, socket in read_tcp().items() if socket.peer is None}
    if not listening:
        return frozenset()
    inodes = {
        int(socket[1])
        for pid in pids
        for target in list_fds(pid).values()
        if (socket := _SOCKET.fullmatch(target)) is not None
    }
    return frozenset(port for inode, port in listening.items() if inode in inodes)
