"""The guard: a small parent that lets nothing of a command outlive it. Standard library only.

Run as ``python -I -S _guard.py FD OWNER GRACE_S -- CMD…``. It stands between an owner (pytest, a kernel, a runner) and
a command, and is the *subreaper* of everything the command starts: a process that loses its parent, renames
itself or opens a session of its own still comes back to the guard (prctl(2), PR_SET_CHILD_SUBREAPER).

FD is one end of a socket pair whose other end the owner, the process OWNER, holds. The kernel closes it when the
owner dies, by whatever signal, and the guard then ends the tree; PR_SET_PDEATHSIG would fire when the *thread* that
started the guard ends. A fork of the owner holds the socket too, so a pidfd watches the owner besides. A byte on the
socket asks for the end, which a signal cannot do before the guard has its handlers. Over the same socket the guard
tells the owner the pid of the command, and before it exits how it ended: two lines of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Iterable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
KILL_WAIT_S = 10.0  # a process in state D (a hung GPU) may never go: it is reported, not waited for
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)
stops: list[int] = []  # the stop signals that have arrived


def read_table() -> dict[int, tuple[int, str, str]]:
    """Every process by pid: (parent, state, name).

    One whose main thread alone has ended shows as a zombie, and lives: its state is given as S.
    """
    table = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except OSError:  # it ended between the listing and the reading
                continue
            head, _, tail = text.rpartition(")")
            fields = tail.split()
            state, parent, threads = fields[0], fields[1], int(fields[17])
            if state == "Z" and threads > 1:
                state = "S"
            table[int(entry)] = (int(parent), state, head.partition("(")[2])
    return table


def list_descendants(root: int) -> dict[int, str]:
    """The living descendants of a process, as {pid: name}."""
    table = read_table()
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found: dict[int, str] = {}
    queue = [root]
    while queue:
        for pid in children.get(queue.pop(), []):
            queue.append(pid)
            _, state, name = table[pid]
            if state not in "ZX":
                found[pid] = name
    return found


def send_signal(pids: Iterable[int], signum: int) -> None:
    for pid in pids:
        # Gone already, or of another user (sudo): what stays is reported as a survivor.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def reap(statuses: dict[int, int]) -> bool:
    """Collects every child that has ended. Says whether one is left.

    The kernel's own answer is exact where the process table is not: every living descendant hangs below a child
    of the guard, but one whose parent ends while the table is read can be missing from it.
    """
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        statuses[pid] = status


def end_tree(statuses: dict[int, int], grace_s: float) -> dict[int, str]:
    """TERM, then KILL, until nothing is left. Returns what even KILL did not end."""
    send_signal(list_descendants(os.getpid()), signal.SIGTERM)
    # A stopped process (SIGSTOP, a debugger) cannot act on TERM before it goes on.
    send_signal(list_descendants(os.getpid()), signal.SIGCONT)
    deadline = time.monotonic() + grace_s
    while reap(statuses) and time.monotonic() < deadline:
        time.sleep(0.02)
    deadline = time.monotonic() + KILL_WAIT_S
    while reap(statuses) and time.monotonic() < deadline:
        send_signal(list_descendants(os.getpid()), signal.SIGKILL)
        time.sleep(0.02)
    return list_descendants(os.getpid()) if reap(statuses) else {}


def spawn(command: list[str]) -> int:
    """Starts the command in a session of its own. Returns its pid; exits 126 or 127 there, as a shell does."""
    # Blocked until the child has its own handlers: a TERM in between would be taken by ours, and be lost.
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        return pid
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for signum in (*STOPS, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
        os._exit(127 if error.errno == errno.ENOENT else 126)


def watch_process(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the kernel or a sandbox has none."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def hear(owner: int) -> bytes:
    """What the owner asks for; nothing where it is gone."""
    try:
        return os.read(owner, 16)
    except ConnectionResetError:  # it died without having read what it was told
        return b""


def tell(owner: int, line: str) -> None:
    """One line of JSON, if there is somebody to hear it."""
    with contextlib.suppress(OSError):  # the owner is gone; nobody is left to tell
        os.write(owner, f"{line}\n".encode())


def name_all(processes: dict[int, str]) -> str:
    """A JSON list of processes. Most often it is empty, and loading json takes as long as all else that is loaded."""
    if not processes:
        return "[]"
    import json

    return json.dumps([{"pid": pid, "name": name} for pid, name in processes.items()])


def wait_for_end(child: int, wake_fd: int, owner: int, owner_pid: int, statuses: dict[int, int]) -> str:
    """Until the command ends, a stop is asked for or the owner is gone. Says which."""
    owner_fd = watch_process(owner_pid)
    watched: list[int] = [wake_fd, owner] + ([] if owner_fd is None else [owner_fd])
    while True:
        reap(statuses)
        if child in statuses:
            return "ended"
        if stops:
            return "stopped"
        if os.getppid() != owner_pid:
            return "owner_died"
        ready, _, _ = select.select(watched, [], [])
        if owner in ready:
            return "stopped" if hear(owner) else "owner_died"
        if owner_fd in ready:
            return "owner_died"
        os.read(wake_fd, 512)


def main() -> None:
    owner, owner_pid, grace_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for entry in os.listdir("/proc/self/fd"):  # the owner's socket, and what it gave to hold
        if int(entry) > 2:
            with contextlib.suppress(OSError):  # the listing's own, which is closed again
                os.set_inheritable(int(entry), False)  # in the command's hands, it would outlive the guard
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)

    statuses: dict[int, int] = {}
    wake_fd, signal_fd = os.pipe()
    for fd in (wake_fd, signal_fd):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(signal_fd)
    for signum in STOPS:
        signal.signal(signum, lambda number, _frame: stops.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)

    child = spawn(sys.argv[sys.argv.index("--") + 1 :])
    tell(owner, f'{{"command": {child}}}')
    reason = wait_for_end(child, wake_fd, owner, owner_pid, statuses)
    orphans = list_descendants(os.getpid()) if reason == "ended" else {}
    survivors = end_tree(statuses, grace_s)

    returncode = os.waitstatus_to_exitcode(statuses[child]) if child in statuses else None
    code = "null" if returncode is None else returncode
    left = f'"orphans": {name_all(orphans)}, "survivors": {name_all(survivors)}'
    tell(owner, f'{{"reason": "{reason}", "returncode": {code}, {left}}}')
    sys.exit(1 if returncode is None else returncode if returncode >= 0 else 128 - returncode)


if __name__ == "__main__":
    main()
