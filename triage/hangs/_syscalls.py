"""What a thread waits for in the kernel, from the line of /proc/PID/task/TID/syscall.

Numbers are of x86-64 and of the generic table that aarch64 uses (Linux, arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h). Only calls that can wait for long, and those that spin around them, have a name.
"""

from __future__ import annotations

import platform

# name: (x86-64, aarch64 or None, the argument that says what is waited for)
_CALLS: dict[str, tuple[int | None, int | None, int | None]] = {
    "read": (0, 63, 0),
    "write": (1, 64, 0),
    "close": (3, 57, 0),
    "poll": (7, None, None),
    "ioctl": (16, 29, 0),
    "pread64": (17, 67, 0),
    "pwrite64": (18, 68, 0),
    "readv": (19, 65, 0),
    "writev": (20, 66, 0),
    "select": (23, None, None),
    "sched_yield": (24, 124, None),
    "msync": (26, 227, None),
    "pause": (34, None, None),
    "nanosleep": (35, 101, None),
    "sendfile": (40, 71, 0),
    "connect": (42, 203, 0),
    "accept": (43, 202, 0),
    "sendto": (44, 206, 0),
    "recvfrom": (45, 207, 0),
    "sendmsg": (46, 211, 0),
    "recvmsg": (47, 212, 0),
    "exit": (60, 93, None),
    "wait4": (61, 260, 0),
    "semop": (65, 193, 0),
    "msgrcv": (70, 188, 0),
    "fcntl": (72, 25, 0),
    "flock": (73, 32, 0),
    "fsync": (74, 82, 0),
    "fdatasync": (75, 83, 0),
    "rt_sigsuspend": (130, 133, None),
    "rt_sigtimedwait": (128, 137, None),
    "sync": (162, 81, None),
    "futex": (202, 98, 0),
    "io_getevents": (208, 4, None),
    "semtimedop": (220, 192, 0),
    "restart_syscall": (219, 128, None),
    "clock_gettime": (228, 113, None),
    "clock_nanosleep": (230, 115, None),
    "exit_group": (231, 94, None),
    "epoll_wait": (232, None, 0),
    "mq_timedreceive": (243, 183, 0),
    "waitid": (247, 95, 1),
    "openat": (257, 56, None),
    "pselect6": (270, 72, None),
    "ppoll": (271, 73, None),
    "splice": (275, 76, 0),
    "epoll_pwait": (281, 22, 0),
    "accept4": (288, 242, 0),
    "recvmmsg": (299, 243, 0),
    "process_vm_readv": (310, 270, 0),
    "io_uring_enter": (426, 426, 0),
    "epoll_pwait2": (441, 441, 0),
    "futex_waitv": (449, 449, None),
    "futex_wait": (455, 455, 0),
}
_COLUMNS = {"x86_64": 0, "aarch64": 1}
_ADDRESSES = {"futex", "futex_wait"}
# name: (the argument that is a time limit, whether it is a number of milliseconds; else a pointer that may be NULL)
_LIMITS = {
    "futex": (3, False),
    "poll": (2, True),
    "ppoll": (2, False),
    "select": (4, False),
    "pselect6": (4, False),
    "epoll_wait": (3, True),
    "epoll_pwait": (3, True),
    "epoll_pwait2": (3, False),
}
_FUTEX_PRIVATE = 0x80  # include/uapi/linux/futex.h: without it, processes may share the word


def _table(machine: str) -> dict[int, tuple[str, int | None]]:
    column = _COLUMNS.get(machine)
    if column is None:
        return {}
    numbers = {name: (call[column], call[2]) for name, call in _CALLS.items()}
    return {number: (name, argument) for name, (number, argument) in numbers.items() if number is not None}


_NAMES = _table(platform.machine())


def describe_syscall(line: str, *, names: dict[int, tuple[str, int | None]] | None = None) -> str | None:
    """The call in words: its name, with the descriptor, pid or address that it waits for. None for a running thread.

    A call that the table does not know is given by its number. Where a call may have a time limit, ``timed`` or ``for
    ever`` says whether it has; ``shared`` is a futex that several processes may wait for.

    >>> describe_syscall("0 0x3 0x7ffe 0x1 0x0 0x0 0x0 0x7ffe 0x7f7a", names=_table("x86_64"))
    'read(3)'
    >>> describe_syscall("98 0x7f10 0x189 0x0 0x0 0x0 0x0 0x7ffe 0x7f7a", names=_table("aarch64"))
    'futex(0x7f10, for ever)'
    >>> describe_syscall("232 0x5 0x7ffe 0x1 0x3e8 0x0 0x0 0x7ffe 0x7f7a", names=_table("x86_64"))
    'epoll_wait(5, timed)'
    >>> describe_syscall("running")
    """
    words = line.split()
    if not words or not words[0].isdigit():  # "running", or "-1": blocked, but not in a call
        return None
    name, argument = (_NAMES if names is None else names).get(int(words[0]), (f"syscall {words[0]}", None))
    told = []
    if argument is not None and argument + 1 < len(words):
        value = int(words[argument + 1], 16) & 0xFFFFFFFF
        told.append(words[argument + 1] if name in _ADDRESSES else str(value - (1 << 32) if value >> 31 else value))
    told += _tell_limit(name, words)
    return f"{name}({', '.join(told)})" if told else name


def _tell_limit(name: str, words: list[str]) -> list[str]:
    """Whether the call ends by itself after a while."""
    place, in_ms = _LIMITS.get(name, (0, False))
    if name not in _LIMITS or place + 1 >= len(words):
        return []
    value = int(words[place + 1], 16)
    endless = value & 0xFFFFFFFF == 0xFFFFFFFF if in_ms else value == 0
    shared = name == "futex" and not int(words[2], 16) & _FUTEX_PRIVATE
    return [*(["shared"] if shared else []), "for ever" if endless else "timed"]
