"""Programs whose evidence is collected in the tests: real processes, each ready when it has said so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from triage.hangs import Evidence, Process, Thread, collect_evidence

REFUSE_PTRACE = Path(__file__).with_name("refuse_ptrace.py")

# It is ready a moment after both hold their first lock; whoever says so is gone then.
LOCK_ORDER = """
import os, threading, time
first, second, met = threading.Lock(), threading.Lock(), threading.Barrier(3)
def announce():
    met.wait()
    time.sleep(0.3)
    os.write(1, b"ready\\n")
def take(a, b):
    with a:
        met.wait()
        with b:
            pass
threading.Thread(target=take, args=(second, first), name="worker").start()
threading.Thread(target=announce).start()
take(first, second)
"""

# A native call that never returns and never lets go of the GIL: a mutex that is taken twice.
HOLD_GIL = """
import ctypes, os, threading, time
libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
time.sleep(0.1)
os.write(1, b"ready\\n")
libc.pthread_mutex_lock(mutex)
"""

GRANDCHILD = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])",
                {HOLD_GIL!r}])
"""

SLEEP = "import time; print('ready', flush=True); time.sleep(300)"

TREE_OF_TEN = f"""
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", {SLEEP!r}], stdout=subprocess.PIPE) for _ in range(9)]
for child in children:
    child.stdout.readline()
print("ready", flush=True)
children[0].wait()
"""


class Programs:
    """Starts programs, and ends each with all its children."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, source: str, *, env: dict[str, str] | None = None, options: Sequence[str] = ()) -> int:
        """Starts Python code and gives its pid, once it has written its first line."""
        command = [sys.executable, *options, "-c", source]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | (env or {}))
        self._started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if source == LOCK_ORDER:
            wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) == 2)
        return process.pid

    def run(self, *command: str) -> int:
        """Starts a command that says nothing."""
        self._started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        return self._started[-1].pid

    def end(self) -> None:
        for process in self._started:
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            for child in family:
                child.kill()
            process.kill()
        for process in self._started:  # only now: one that traces another keeps it until it ends itself
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def list_tree(pid: int) -> list[int]:
    """A process and all below it."""
    root = psutil.Process(pid)
    return [pid, *(child.pid for child in root.children(recursive=True))]


def collect(pid: int, folder: Path, *, gap_s: float = 0.3, limit_s: float = 60.0, **options: object) -> Evidence:
    """The evidence of a tree, with a limit that a loaded machine does not reach."""
    return collect_evidence(
        lambda: list_tree(pid), folder=folder, clock=time.monotonic, gap_s=gap_s, limit_s=limit_s, **options
    )


def find(evidence: Evidence, pid: int, *, sample: int = -1) -> Process:
    return next(process for process in evidence.samples[sample].processes if process.pid == pid)


def list_calls(thread: Thread) -> list[str]:
    """The functions on a stack, innermost first."""
    return [frame.function for frame in thread.frames]


def wait_for_state(pid: int, state: str) -> None:
    wait_until(lambda: psutil.Process(pid).status() == state)


def wait_until(holds: Callable[[], bool], *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    wait_for_state(pid, psutil.STATUS_STOPPED)
