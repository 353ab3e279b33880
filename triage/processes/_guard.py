"""The guard: a small parent that lets nothing of a command outlive it. Standard library only.

Run as ``python -I -S _guard.py FD GRACE_S -- CMD…``. It stands between an owner (pytest, a kernel, ``triage run``)
and a command, and is the *subreaper* of everything the command starts: a process that loses its parent, renames
itself or opens a session of its own still comes back to the guard (prctl(2), PR_SET_CHILD_SUBREAPER).

FD is one end of a socket pair whose other end the owner holds. The kernel closes it when the owner dies, by
whatever signal, and the guard then ends the tree; PR_SET_PDEATHSIG would fire when the *thread* that started
the guard ends. Over the same socket the guard says, a line of JSON each, which pid the command has, and at the end how
it ended.
"""

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
KILL_WAIT_S = 10.0  # a process in state D (a hung GPU) may never go: it is reported, not waited for

_libc = ctypes.CDLL(None, use_errno=True)


def read_table() -> dict[int, tuple[int, str, str]]:
    """Every process by pid: (parent, state, name)."""
    table = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except OSError:  # it ended between the listing and the reading
                continue
            head, _, tail = text.rpartition(")")
            state, parent = tail.split()[:2]
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
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def reap(statuses: dict[int, int]) -> None:
    """Collects every child that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        statuses[pid] = status


def end_tree(statuses: dict[int, int], grace_s: float) -> dict[int, str]:
    """TERM, then KILL, until nothing is left. Returns what even KILL did not end."""
    send_signal(list_descendants(os.getpid()), signal.SIGTERM)
    # A stopped process (SIGSTOP, a debugger) cannot act on TERM before it goes on.
    send_signal(list_descendants(os.getpid()), signal.SIGCONT)
    deadline = time.monotonic() + grace_s
    while list_descendants(os.getpid()) and time.monotonic() < deadline:
        reap(statuses)
        time.sleep(0.02)
    deadline = time.monotonic() + KILL_WAIT_S
    while (left := list_descendants(os.getpid())) and time.monotonic() < deadline:
        send_signal(left, signal.SIGKILL)
        reap(statuses)
        time.sleep(0.02)
    reap(statuses)
    return list_descendants(os.getpid())


def spawn(command: list[str]) -> int:
    """Starts the command in a session of its own. Returns its pid; exits 126 or 127 there, as a shell does."""
    # Blocked across the fork: a stop that arrives before the child has dropped our handlers must wait, not vanish.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return pid
    signal.set_wakeup_fd(-1)
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for signum in (*STOP_SIGNALS, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127 if error.errno == errno.ENOENT else 126)


def wait_for_end(child: int, wake_fd: int, owner: socket.socket, stops: list[int], statuses: dict[int, int]) -> str:
    """Until the command ends, a stop signal arrives or the owner is gone. Says which."""
    while True:
        reap(statuses)
        if child in statuses:
            return "ended"
        if stops:
            return "stopped"
        ready, _, _ = select.select([wake_fd, owner.fileno()], [], [])
        if owner.fileno() in ready:
            return "stopped" if owner.recv(16) else "owner_died"
        os.read(wake_fd, 512)


def tell(owner: socket.socket, record: Mapping[str, object]) -> None:
    with contextlib.suppress(OSError):  # the owner is gone; nobody is left to tell
        owner.sendall(json.dumps(record).encode() + b"\n")


def main() -> None:
    separator = sys.argv.index("--")
    owner = socket.socket(fileno=int(sys.argv[1]))
    grace_s = float(sys.argv[2])
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)

    stops: list[int] = []
    statuses: dict[int, int] = {}
    wake_fd, signal_fd = os.pipe()
    for fd in (wake_fd, signal_fd):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(signal_fd)
    for signum in STOP_SIGNALS:
        signal.signal(signum, lambda number, _frame: stops.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)

    child = spawn(sys.argv[separator + 1 :])
    tell(owner, {"pid": child})
    reason = wait_for_end(child, wake_fd, owner, stops, statuses)
    orphans = list_descendants(os.getpid()) if reason == "ended" else {}
    survivors = end_tree(statuses, grace_s)

    returncode = os.waitstatus_to_exitcode(statuses[child]) if child in statuses else None
    ending = {
        "reason": reason,
        "returncode": returncode,
        "orphans": [{"pid": pid, "name": name} for pid, name in orphans.items()],
        "survivors": [{"pid": pid, "name": name} for pid, name in survivors.items()],
    }
    tell(owner, ending)
    sys.exit(1 if returncode is None else returncode if returncode >= 0 else 128 - returncode)


if __name__ == "__main__":
    main()
