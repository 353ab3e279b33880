"""The owner's side of the guard."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Literal, Self

from triage.processes._guard import list_descendants

if TYPE_CHECKING:
    import psutil

_GUARD = Path(__file__).with_name("_guard.py")


@dataclass(frozen=True, kw_only=True)
class Orphan:
    """A process that was still alive when its command had ended."""

    pid: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a command ended.

    ``returncode`` is negative for death by a signal, as in `subprocess`, and None where the guard could not
    tell; ``pid`` was the command's. ``orphans`` outlived it and were ended; ``survivors`` outlived even SIGKILL
    (state D).
    """

    reason: Literal["ended", "stopped", "owner_died", "guard_died"]
    returncode: int | None
    pid: int | None = None
    orphans: tuple[Orphan, ...] = ()
    survivors: tuple[Orphan, ...] = ()


class Guarded:
    """A running command under a guard. Leaving the ``with`` block ends its whole tree."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: socket.socket) -> None:
        self._process = process
        self._lifeline = lifeline
        self._ending: Ending | None = None
        self._reading = threading.Lock()  # `poll` and `end` may come from two threads

    @property
    def pid(self) -> int:
        """The guard's pid; the command and all it starts are its descendants."""
        return self._process.pid

    def list_processes(self) -> list[psutil.Process]:
        """The command and everything it started that is alive, without the guard itself."""
        import psutil  # a watch must not pay for it

        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def list_pids(self) -> list[int]:
        """The pids of `list_processes`, in no order, from the process table alone."""
        return list(list_descendants(self.pid))

    @property
    def ended(self) -> bool:
        """Whether the command has ended, also where nobody can tell its exit code because its guard was killed."""
        return self._process.poll() is not None

    def poll(self) -> int | None:
        """The exit code, or None while the command runs or where nobody can tell it (see `ended`)."""
        return None if self._process.poll() is None else self._read_ending().returncode

    def wait(self, *, timeout_s: float | None = None) -> int | None:
        """Waits for the end and returns the exit code. Raises `TimeoutError`; the command then still runs."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"still running after {timeout_s:g} s") from None
        return self._read_ending().returncode

    def end(self) -> Ending:
        """Ends the whole tree: TERM, and after the grace KILL. Returns at once if it has ended already."""
        self.begin_end()
        self._process.wait()
        return self._read_ending()

    def begin_end(self) -> None:
        """Asks the guard to end the tree, and does not wait for it: `ended` tells when it has."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                self._lifeline.send(b".")
            self._process.send_signal(signal.SIGCONT)  # whoever stopped the guard did not mean to keep its tree

    def _read_ending(self) -> Ending:
        with self._reading:
            if self._ending is None:
                with self._lifeline, self._lifeline.makefile("rb") as stream:
                    began, told = stream.readline(), stream.readline()
                try:
                    self._ending = _read_told(began, told)
                except ValueError:  # cut short, or nothing at all
                    _kill_session(began)
                    self._ending = Ending(reason="guard_died", returncode=None)
            return self._ending

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def _read_told(began: bytes, told: bytes) -> Ending:
    pid, fields = json.loads(began)["command"], json.loads(told)
    people = {name: tuple(Orphan(**left) for left in fields[name]) for name in ("orphans", "survivors")}
    return Ending(reason=fields["reason"], returncode=fields["returncode"], pid=pid, **people)


def _kill_session(began: bytes) -> None:
    """Kills what a killed guard left: the kernel ended the command with it, but not the command's children.

    ``began`` is the guard's first line. The command leads a session of its own; a child that left it is not found.
    """
    if not began:
        return
    session = json.loads(began)["command"]
    for entry in os.listdir("/proc"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if entry.isdigit() and os.getsid(int(entry)) == session:
                os.kill(int(entry), signal.SIGKILL)


def start_guarded(
    command: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    hold: Sequence[int] = (),
    grace_s: float = 10.0,
) -> Guarded:
    """Starts a command whose whole process tree ends with it, with `Guarded.end`, or with this process.

    ``grace_s`` is how long the tree may take after TERM before it is killed. ``hold`` are descriptors (of a locked
    file) that stay open until the whole tree has ended, also where this process is killed; the command does not see
    them. A command that does not exist ends with 127 and one that may not be run with 126, as in a shell. Linux only:
    it rests on PR_SET_CHILD_SUBREAPER. Raises `ValueError` for an empty command and `OSError` where ``cwd`` does not
    exist.

    >>> command = start_guarded(["sleep", "60"])
    >>> command.end().returncode
    -15
    """
    if not command:
        raise ValueError("the command is empty")
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", _GUARD),
                    *(str(theirs.fileno()), str(os.getpid()), str(grace_s), "--"),
                    *command,
                ],
                env=env,
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(theirs.fileno(), *hold),
                start_new_session=True,  # Ctrl-C reaches the owner alone, which then ends the tree in order
            )
        except BaseException:
            ours.close()
            raise
    return Guarded(process, ours)
