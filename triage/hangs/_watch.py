"""The supervisor: runs a command, passes its output on, and keeps the evidence before anything is ended."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from triage.hangs._check import check_command, check_limit, prepare_folder
from triage.hangs._life import Life
from triage.hangs._lines import Output
from triage.hangs._record import Diagnosis, Ending, HangClass, HangRecord, Leftover
from triage.hangs._relay import Relay
from triage.hangs._sample import Evidence, NotCollected, Sample
from triage.hangs._signals import Signals, catch_signals
from triage.hangs._sinks import Sink
from triage.hangs._state import RecordFile, State
from triage.hangs._work import WorkReader
from triage.processes import Ending as Ended
from triage.processes import Guarded, start_guarded

if TYPE_CHECKING:
    from triage.hangs._machine import Baseline

EXIT_HANG = 124
_EXIT_LOST = 3  # the guard was killed: nobody can tell how the command ended
_GAP_S, _LIMIT_S = 2.0, 8.0
_STOP_GAP_S, _STOP_LIMIT_S = 0.4, 2.5  # whoever stops us may lose patience
_LATE_S = 5.0  # what collecting may take beyond its limit before nobody waits for it
_PROBE_LIMIT_S = 4.0
_WAIT_MOST_S = 5.0
_DRAIN_S = 10.0  # how long a reader that does not read may hold up the end, after a hang
_STACKS_FOLDER = "stacks"
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL  # of a sink: nobody reads it any more


class _Collecting:
    """Evidence that is collected while the output goes on."""

    def __init__(self, collect: Callable[[], Evidence], *, limit_s: float, wake: Callable[[], None]) -> None:
        self.evidence: Evidence | None = None
        self._until_s = time.monotonic() + limit_s + _LATE_S
        self._limit_s = limit_s

        def run() -> None:
            self.evidence = collect()
            wake()

        threading.Thread(target=run, daemon=True).start()

    @property
    def done(self) -> bool:
        return self.evidence is not None or time.monotonic() > self._until_s

    def read(self) -> Evidence:
        why = f"collecting it did not end within {self._limit_s + _LATE_S:g} s"
        return self.evidence or Evidence(not_collected=(NotCollected(what="evidence", why=why),))


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
        until: str | None,
    ) -> None:
        self._began_s = time.monotonic()
        self._folder = folder
        self._stall_s = stall_s
        self._timeout_s = timeout_s
        self._until = until
        self._stderr = stderr
        self._output = Output(self._clock)
        self._relay = Relay(self._output, stdout=stdout, stderr=stderr)
        self._file = RecordFile(folder, self._complain)
        self._state = State(
            command=tuple(command), stall_s=stall_s, timeout_s=timeout_s, clock=self._clock, output=self._output
        )
        self._poll = select.poll()
        self._polled: dict[int, int] = {}
        self._wake_fd, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._collecting: _Collecting | None = None
        self._judged_s = 0.0
        self._told_to_end = False
        self._ended_itself = False
        self._ports: frozenset[int] = frozenset()
        self._baseline: Baseline | None = None

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
        self, *, env: Mapping[str, str] | None, cwd: Path | None, stdin: int | None, grace_s: float, signals: Signals
    ) -> HangRecord:
        """Runs the command to its end, or ends it."""
        self._signals = signals
        self._begin_baseline()
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
                work = WorkReader(self._guarded.pid, now_s=now_s)
                self._life = Life(self._output, work, stall_s=self._stall_s, take=self._take_sample, now_s=now_s)
                self._follow()
            self._settle()
        finally:
            self._relay.close()
            os.close(self._wake_fd)
            os.close(self._waker)
        return self._state.make_record()

    def _make_environment(self, env: Mapping[str, str] | None) -> Mapping[str, str] | None:
        from triage.hangs._faulthandler import prepare_stacks

        extra = prepare_stacks(self._folder / _STACKS_FOLDER)
        return {**(os.environ if env is None else env), **extra} if extra else env

    def _begin_baseline(self) -> None:
        """Read beside the start: where a tool has to be asked, the command does not wait for it."""
        from triage.hangs._machine import read_baseline

        def read() -> None:
            self._baseline = read_baseline()

        self._reading = threading.Thread(target=read, daemon=True)
        self._reading.start()
        self._reading.join(0.05)

    # The loop

    def _follow(self) -> None:
        while self._wait():
            self._relay.pump()
            now_s = self._clock()
            if self._signals.resized:
                self._signals.resized = False
                self._resize()
            if now_s >= self._life.due_s:
                self._state.add_tick(self._life.look(now_s, holds_still=self._relay.held_up))
            if not self._told_to_end:
                self._judge(now_s)
                self._file.write_if_due(self._make_running)

    def _wait(self) -> bool:
        """Until there is something to do. Says whether the command is still there."""
        wanted = self._relay.poll_fds()
        wanted[self._wake_fd] = select.POLLIN
        if self._signals.wake_fd is not None:
            wanted[self._signals.wake_fd] = select.POLLIN
        if self._pid_fd is not None:
            wanted[self._pid_fd] = select.POLLIN
        if wanted != self._polled:
            for fd in self._polled.keys() - wanted.keys():
                self._poll.unregister(fd)
            for fd, events in wanted.items():
                self._poll.register(fd, events)
            self._polled = wanted
        ready = self._poll.poll(1000 * max(0.0, self._find_wait()))
        broken = [fd for fd, event in ready if event & _GONE]
        if broken:
            self._relay.note_errors(broken)
        for fd, _ in ready:
            if fd in (self._wake_fd, self._signals.wake_fd):
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 512)
        if self._pid_fd is None or any(fd == self._pid_fd for fd, _ in ready):
            return not self._guarded.ended
        return True

    def _find_wait(self) -> float:
        """How long nothing needs to be done unless something is reported."""
        now_s = self._clock()
        until_s = min(self._life.due_s, now_s + _WAIT_MOST_S)
        if self._timeout_s is not None and self._state.ending is Ending.RUNNING:
            until_s = min(until_s, self._timeout_s)
        wait_s = until_s - now_s
        if self._relay.look_s is not None:
            wait_s = min(wait_s, self._relay.look_s)
        if self._pid_fd is None or self._collecting is not None:
            wait_s = min(wait_s, 0.1)
        return wait_s

    def _judge(self, now_s: float) -> None:
        """Decides whether the command is to be ended, and ends it when the evidence is there."""
        if self._collecting is not None:
            if self._state.ending is Ending.STALLED and (self._output.at_s or 0.0) > self._judged_s:
                self._collecting = None  # it printed something: it was slow, not stuck
                self._state.ending = Ending.RUNNING
            elif self._collecting.done or len(self._signals.stops) > 1:
                self._end_with_evidence()
        elif self._signals.stops:
            self._begin_end(Ending.STOPPED, now_s, gap_s=_STOP_GAP_S, limit_s=_STOP_LIMIT_S)
        elif self._until is not None and any(mark.phase == self._until for mark in self._output.phases):
            self._state.ending = Ending.REACHED
            self._end_tree()
        elif self._timeout_s is not None and now_s >= self._timeout_s:
            self._begin_end(Ending.TIME_LIMIT, now_s, gap_s=_GAP_S, limit_s=_LIMIT_S)
        elif self._life.is_stalled(now_s):
            self._begin_end(Ending.STALLED, now_s, gap_s=_GAP_S, limit_s=_LIMIT_S)

    def _begin_end(self, ending: Ending, now_s: float, *, gap_s: float, limit_s: float) -> None:
        from triage.hangs._collect import collect_evidence
        from triage.hangs._tree import read_listening_ports

        self._state.ending = ending
        self._judged_s = now_s
        self._progressing = ending is not Ending.STALLED and self._life.is_progressing(now_s)
        self._note_progress()

        def collect() -> Evidence:
            found = collect_evidence(
                self._guarded.list_pids,
                folder=self._folder,
                clock=self._clock,
                gap_s=gap_s,
                limit_s=limit_s,
                stacks_folder=self._folder / _STACKS_FOLDER,
                baseline=self._baseline,
            )
            self._ports = read_listening_ports(self._guarded.list_pids())
            return found

        self._collecting = _Collecting(collect, limit_s=limit_s, wake=lambda: _wake(self._waker))

    def _end_with_evidence(self) -> None:
        """Everything is on disk before the first signal."""
        if self._collecting is not None:
            self._state.evidence = self._collecting.read()
        self._state.diagnosis = self._diagnose(self._state.ending, None)
        self._state.exit_code = self._choose_exit_code(None)
        self._file.write(self._state.make_record())
        self._end_tree()

    def _end_tree(self) -> None:
        self._told_to_end = True
        self._guarded.begin_end()

    def _resize(self) -> None:
        import signal

        self._relay.resize()
        # The command has a session of its own, which our terminal does not know.
        for pid in self._guarded.list_pids():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGWINCH)

    def _take_sample(self, pids: list[int]) -> Sample:
        from triage.hangs._collect import take_sample

        return take_sample(pids, clock=self._clock, limit_s=_PROBE_LIMIT_S, stacks_folder=self._folder / _STACKS_FOLDER)

    # The end

    def _settle(self) -> None:
        """The tree is gone: what is left of its output, of its traces, and what is to be said of it."""
        state = self._state
        ended = self._guarded.end()
        state.duration_s = self._clock()
        self._drain()
        if state.ending is Ending.RUNNING or not self._told_to_end:
            if self._collecting is not None:  # it ended while it was looked at
                self._ended_itself = True
                state.evidence = self._collecting.read() if self._wait_for(self._collecting) else state.evidence
            state.ending = Ending.EXITED
        state.returncode = ended.returncode if state.ending is Ending.EXITED else None
        state.exit_code = self._choose_exit_code(ended)
        if not self._ended_itself and state.ending not in {Ending.STALLED, Ending.TIME_LIMIT}:
            self._note_progress()  # of one that was ended what it said as it died is no sign of life
        state.orphans = tuple(Leftover(pid=left.pid, name=left.name) for left in ended.orphans)
        if state.ending is Ending.EXITED:
            state.evidence = self._collect_afterwards() if not self._ended_itself else state.evidence
            state.diagnosis = self._diagnose(Ending.EXITED, state.returncode)
        elif state.ending is Ending.REACHED:
            state.diagnosis = self._diagnose(Ending.REACHED, None)
        self._read_residue(ended)
        from triage.engine.versions import read_versions

        state.versions = read_versions()
        self._file.write(state.make_record())

    def _drain(self) -> None:
        """All that the command wrote goes out, as long as somebody reads it."""
        patience_s = self._stall_s if not self._told_to_end else min(_DRAIN_S, self._stall_s)
        began_s = time.monotonic()
        while True:
            self._relay.pump()
            if self._relay.drained:
                return
            silent_s = time.monotonic() - max(began_s, self._relay.moved_at_s)
            if self._signals.stops or silent_s > patience_s:
                self._complain("nobody reads the output: its last part is lost.")
                return
            self._poll_sinks()

    def _poll_sinks(self) -> None:
        poll = select.poll()
        for fd, events in self._relay.poll_fds().items():
            poll.register(fd, events)
        ready = poll.poll(100)
        self._relay.note_errors(fd for fd, event in ready if event & _GONE)

    def _wait_for(self, collecting: _Collecting) -> bool:
        while not collecting.done:
            time.sleep(0.02)
        return True

    def _note_progress(self) -> None:
        self._state.sign_line = self._output.last_line
        self._state.sign, self._state.sign_at_s = self._life.sign, self._life.at_s
        if self._output.at_s is not None and self._output.at_s > self._life.at_s:
            self._state.sign, self._state.sign_at_s = "output", self._output.at_s

    def _make_running(self) -> HangRecord:
        if self._state.ending is Ending.RUNNING:
            self._note_progress()
        return self._state.make_record()

    def _collect_afterwards(self) -> Evidence:
        """What the machine says of a command that failed; of one that succeeded nobody asks."""
        if self._state.returncode == 0:
            return Evidence()
        from triage.hangs._collect import collect_evidence

        self._reading.join(_LIMIT_S)
        return collect_evidence(
            list, folder=self._folder, clock=self._clock, limit_s=_STOP_LIMIT_S, baseline=self._baseline
        )

    def _diagnose(self, ending: Ending, returncode: int | None) -> Diagnosis:
        if ending is Ending.EXITED and returncode == 0:
            words = "The command ended by itself" + (" while it was looked at." if self._ended_itself else ".")
            return Diagnosis(hang_class=HangClass.NONE, because=(words,))
        from triage.hangs._classify import diagnose

        found = diagnose(
            self._state.evidence,
            ending=ending,
            returncode=returncode,
            progressing=ending in {Ending.TIME_LIMIT, Ending.STOPPED} and self._progressing,
            seen_pids=self._life.pids,
        )
        if self._ended_itself:
            words = "It had given no sign of life, and ended by itself while it was looked at."
            return Diagnosis(hang_class=found.hang_class, because=(*found.because, words))
        return found

    def _choose_exit_code(self, ended: Ended | None) -> int:
        match self._state.ending:
            case Ending.STALLED | Ending.TIME_LIMIT:
                return EXIT_HANG
            case Ending.STOPPED:
                return 128 + self._signals.stops[0]
            case Ending.REACHED:
                return 0
        if ended is None or ended.returncode is None:
            return _EXIT_LOST
        return ended.returncode if ended.returncode >= 0 else 128 - ended.returncode

    def _read_residue(self, ended: Ended) -> None:
        from triage.hangs._residue import read_residue

        self._reading.join(_LIMIT_S)
        if self._baseline is None:
            return
        survivors = [Leftover(pid=left.pid, name=left.name) for left in ended.survivors]
        self._state.residue = read_residue(self._baseline, survivors=survivors, pids=self._life.pids, ports=self._ports)


def _wake(fd: int) -> None:
    with contextlib.suppress(OSError):  # full: it is awake; closed: nobody waits any more
        os.write(fd, b".")


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
            command, folder=folder, stall_s=stall_s, timeout_s=timeout_s, stdout=stdout, stderr=stderr, until=until
        )
        return watch.run(env=env, cwd=cwd, stdin=stdin, grace_s=grace_s, signals=signals)
