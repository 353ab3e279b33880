"""The supervisor: runs a command, passes its output on, and keeps the evidence before anything is ended."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from triage.hangs._check import check_command, check_limit, prepare_folder
from triage.hangs._judge import STACKS_FOLDER, BaselineReading, Judge
from triage.hangs._life import Life
from triage.hangs._lines import Output
from triage.hangs._poll import Poll, list_gone
from triage.hangs._record import Ending, HangRecord, Leftover
from triage.hangs._relay import Relay
from triage.hangs._sample import Sample
from triage.hangs._signals import Signals, catch_signals
from triage.hangs._sinks import Sink
from triage.hangs._state import RecordFile, State
from triage.hangs._work import WorkReader
from triage.processes import Guarded, start_guarded

_PROBE_LIMIT_S = 4.0
_WAIT_MOST_S = 5.0
_BUSY_WAIT_S = 0.1
_DRAIN_S = 10.0  # how long a reader that does not read may hold up the end, after a hang


class Watch:
    """One watched command, from its start to its record."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        stall_s: float,
        timeout_s: float | None,
        stdout: int,
        stderr: int,
        signals: Signals,
    ) -> None:
        self._began_s = time.monotonic()
        self._stderr = stderr
        self._signals = signals
        self._output = Output(self._clock)
        self._relay = Relay(self._output, stdout=stdout, stderr=stderr)
        self._file = RecordFile(folder, self._complain)
        self._state = State(
            command=tuple(command), stall_s=stall_s, timeout_s=timeout_s, clock=self._clock, output=self._output
        )
        self._stacks_folder = folder / STACKS_FOLDER
        self._poll = Poll()

    def _clock(self) -> float:
        return time.monotonic() - self._began_s

    def _complain(self, text: str) -> None:
        """One sentence on stderr; lost where nobody reads it, for it must not hold up the watch."""
        with contextlib.suppress(OSError):
            sink = Sink(self._stderr)
            try:
                sink.write(f"triage: {text}\n".encode(errors="backslashreplace"))
            finally:
                sink.close()

    def run(
        self,
        *,
        env: Mapping[str, str] | None,
        cwd: Path | None,
        stdin: int | None,
        grace_s: float,
        until: str | None,
    ) -> HangRecord:
        """Runs the command to its end, or ends it."""
        reading = BaselineReading()
        self._file.write(self._state.make_record())  # first of all: we may be killed at any moment
        out, err = self._relay.child_fds
        try:
            self._guarded = start_guarded(
                self._state.command,
                env=self._make_environment(env),
                cwd=cwd,
                stdin=stdin,
                stdout=out,
                stderr=err,
                grace_s=grace_s,
            )
            self._relay.close_child_ends()
            with self._guarded, _watch_pid(self._guarded) as self._pid_fd:
                now_s = self._clock()
                self._work = WorkReader(self._guarded.pid, now_s=now_s)
                stall_s = self._state.stall_s
                self._life = Life(self._output, self._work, stall_s=stall_s, take=self._take_sample, now_s=now_s)
                self._judge = Judge(
                    state=self._state,
                    life=self._life,
                    guarded=self._guarded,
                    file=self._file,
                    reading=reading,
                    stops=self._signals.stops,
                    until=until,
                    wake=self._poll.wake,
                )
                self._follow()
            self._settle(reading)
        finally:
            self._relay.close()
            self._poll.close()
        return self._state.make_record()

    def _make_environment(self, env: Mapping[str, str] | None) -> Mapping[str, str] | None:
        from triage.hangs._faulthandler import prepare_stacks

        extra = prepare_stacks(self._stacks_folder, env=env)
        return {**(os.environ if env is None else env), **extra} if extra else env

    def _take_sample(self, pids: list[int]) -> Sample:
        from triage.hangs._collect import take_sample

        return take_sample(pids, clock=self._clock, limit_s=_PROBE_LIMIT_S, stacks_folder=self._stacks_folder)

    # While it runs

    def _follow(self) -> None:
        while self._wait():
            self._relay.pump()
            now_s = self._clock()
            if self._signals.resized:
                self._signals.resized = False
                self._resize()
            if now_s >= self._life.due_s:
                self._state.add_tick(self._life.look(now_s, holds_still=self._relay.held_up))
            if not self._judge.told_to_end:
                self._judge.judge(now_s)
                self._file.write_if_due(self._make_running)

    def _wait(self) -> bool:
        """Until there is something to do. Says whether the command is still there."""
        own = [fd for fd in (self._signals.wake_fd, self._pid_fd) if fd is not None]
        wanted = {**self._relay.poll_fds(), **dict.fromkeys(own, select.POLLIN)}
        drain = [] if self._signals.wake_fd is None else [self._signals.wake_fd]
        ready = self._poll.wait(wanted, limit_s=self._find_wait(), drain=drain)
        self._relay.note_errors(list_gone(ready))
        return not self._guarded.ended if self._pid_fd is None or self._pid_fd in ready else True

    def _find_wait(self) -> float:
        """How long nothing needs to be done unless something is reported."""
        now_s = self._clock()
        until_s = min(self._life.due_s, now_s + _WAIT_MOST_S)
        if self._state.timeout_s is not None and self._state.ending is Ending.RUNNING:
            until_s = min(until_s, self._state.timeout_s)
        wait_s = until_s - now_s
        if self._relay.look_s is not None:
            wait_s = min(wait_s, self._relay.look_s)
        return min(wait_s, _BUSY_WAIT_S) if self._pid_fd is None or self._judge.collecting else wait_s

    def _resize(self) -> None:
        import signal

        self._relay.resize()
        # The command has a session of its own, which our terminal does not know.
        for pid in self._guarded.list_pids():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGWINCH)

    def _make_running(self) -> HangRecord:
        if self._state.ending is Ending.RUNNING:
            self._judge.note_progress()
        return self._state.make_record()

    # When its tree is gone

    def _settle(self, reading: BaselineReading) -> None:
        """What is left of its output, of its traces, and what is to be said of it."""
        from triage.engine.versions import read_versions

        state, ended = self._state, self._guarded.end()
        state.duration_s = self._clock()
        if ended.reason == "guard_died":
            self._work.kill()
        self._drain()
        self._judge.conclude()
        state.orphans = tuple(Leftover(pid=left.pid, name=left.name) for left in ended.orphans)
        if baseline := reading.wait():
            from triage.hangs._residue import read_residue

            survivors = [Leftover(pid=left.pid, name=left.name) for left in ended.survivors]
            ports = self._judge.ports
            state.residue = read_residue(baseline, survivors=survivors, pids=self._life.pids, ports=ports)
        state.versions = read_versions()
        self._file.write(state.make_record())

    def _drain(self) -> None:
        """All that the command wrote goes out, as long as somebody reads it."""
        stall_s = self._state.stall_s
        patience_s = min(_DRAIN_S, stall_s) if self._judge.told_to_end else stall_s
        began_s = time.monotonic()
        while True:
            self._relay.pump()
            if self._relay.drained:
                return
            silent_s = time.monotonic() - max(began_s, self._relay.moved_at_s)
            if self._signals.stops or silent_s > patience_s:
                self._complain("nobody reads the output: its last part is lost.")
                return
            self._relay.note_errors(list_gone(self._poll.wait(self._relay.poll_fds(), limit_s=_BUSY_WAIT_S)))


@contextlib.contextmanager
def _watch_pid(guarded: Guarded) -> Iterator[int | None]:
    """A descriptor that becomes readable when the guard has ended; None where the kernel has none."""
    try:
        fd = os.pidfd_open(guarded.pid)
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def watch_command(
    command: Sequence[str],
    *,
    out: Path,
    stall_s: float = 300.0,
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | None = None,
    stdout: int = 1,
    stderr: int = 2,
    until: str | None = None,
    grace_s: float = 10.0,
) -> HangRecord:
    """Runs a command, and ends its whole tree after ``stall_s`` seconds without a sign of life or ``timeout_s`` in all.

    ``stdin`` is inherited where it is None; what the command prints goes to the descriptors ``stdout`` and ``stderr``
    as it is. ``until`` is a phase of vLLM's start-up: when it comes, the command is ended and that is no fault.
    ``grace_s`` is what the tree may take to clean up after TERM. ``out/hang.json`` is there from the start.

    In the main thread SIGTERM, SIGINT and SIGHUP end the command in order. Raises `InputError` for a command that does
    not exist or may not be run, limits that are none, and a folder that cannot be written; nothing has started then.

    >>> import tempfile
    >>> record = watch_command(["true"], out=Path(tempfile.mkdtemp()))
    >>> record.exit_code, record.hung
    (0, False)
    """
    check_limit("The stall limit", stall_s)
    if timeout_s is not None:
        check_limit("The time limit", timeout_s)
    check_command(command, env=env, cwd=cwd)
    folder = prepare_folder(Path(out))
    with catch_signals() as signals:
        watch = Watch(
            command, folder=folder, stall_s=stall_s, timeout_s=timeout_s, stdout=stdout, stderr=stderr, signals=signals
        )
        return watch.run(env=env, cwd=cwd, stdin=stdin, grace_s=grace_s, until=until)
