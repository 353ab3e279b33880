"""The judge of a watched command: when it is to be ended, the evidence from before that, and what is said of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from triage.hangs._life import Life
from triage.hangs._record import Diagnosis, Ending, HangClass
from triage.hangs._sample import Evidence, NotCollected
from triage.hangs._state import RecordFile, State
from triage.processes import Guarded

if TYPE_CHECKING:
    from triage.hangs._machine import Baseline

STACKS_FOLDER = "stacks"
EXIT_HANG = 124
_EXIT_LOST = 3  # the guard was killed: nobody can tell how the command ended
_GAP_S, _LIMIT_S = 2.0, 8.0
_STOP_GAP_S, _STOP_LIMIT_S = 0.4, 2.5  # whoever stops us may lose patience
_LATE_S = 5.0  # what collecting may take beyond its limit before nobody waits for it


class BaselineReading:
    """The machine before the command, read beside its start: where a tool has to be asked, nobody waits for it."""

    def __init__(self) -> None:
        self.baseline: Baseline | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._thread.join(0.05)

    def _run(self) -> None:
        from triage.hangs._machine import read_baseline

        self.baseline = read_baseline()

    def wait(self) -> Baseline | None:
        """What was read; None where it still is not."""
        self._thread.join(_LIMIT_S)
        return self.baseline


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


@dataclass(kw_only=True)
class Judge:
    """Decides by the signs of life, the limits and the stop signals; ``stops`` are those that have arrived.

    ``until`` is an awaited phase, ``wake`` is called when evidence is there.
    """

    state: State
    life: Life
    guarded: Guarded
    file: RecordFile
    reading: BaselineReading
    stops: list[int]
    until: str | None
    wake: Callable[[], None]
    told_to_end: bool = False
    ports: frozenset[int] = frozenset()
    _collecting: _Collecting | None = None
    _judged_s: float = 0.0
    _progressing: bool = False
    _ended_itself: bool = False

    @property
    def collecting(self) -> bool:
        """Whether evidence is being collected."""
        return self._collecting is not None

    @property
    def folder(self) -> Path:
        """Where the record goes."""
        return self.file.path.parent

    def judge(self, now_s: float) -> None:
        """Decides whether the command is to be ended, and ends it when the evidence is there."""
        state = self.state
        if self._collecting is not None:
            if state.ending is Ending.STALLED and (state.output.at_s or 0.0) > self._judged_s:
                self._collecting = None  # it printed something: it was slow, not stuck
                state.ending = Ending.RUNNING
            elif self._collecting.done or len(self.stops) > 1:
                self._end_with_evidence(self._collecting)
        elif self.stops:
            self._begin_end(Ending.STOPPED, now_s, gap_s=_STOP_GAP_S, limit_s=_STOP_LIMIT_S)
        elif self.until is not None and any(mark.phase == self.until for mark in state.output.phases):
            state.ending = Ending.REACHED
            self._end_tree()
        elif state.timeout_s is not None and now_s >= state.timeout_s:
            self._begin_end(Ending.TIME_LIMIT, now_s, gap_s=_GAP_S, limit_s=_LIMIT_S)
        elif self.life.is_stalled(now_s):
            self._begin_end(Ending.STALLED, now_s, gap_s=_GAP_S, limit_s=_LIMIT_S)

    def _begin_end(self, ending: Ending, now_s: float, *, gap_s: float, limit_s: float) -> None:
        from triage.hangs._collect import collect_evidence
        from triage.hangs._tree import read_listening_ports

        self.state.ending = ending
        self._judged_s = now_s
        self._progressing = ending is not Ending.STALLED and self.life.is_progressing(now_s)
        self.note_progress()

        def collect() -> Evidence:
            found = collect_evidence(
                self.guarded.list_pids,
                folder=self.folder,
                clock=self.state.clock,
                gap_s=gap_s,
                limit_s=limit_s,
                stacks_folder=self.folder / STACKS_FOLDER,
                baseline=self.reading.baseline,
            )
            self.ports = read_listening_ports(self.guarded.list_pids())
            return found

        self._collecting = _Collecting(collect, limit_s=limit_s, wake=self.wake)

    def _end_with_evidence(self, collecting: _Collecting) -> None:
        """Everything is on disk before the first signal."""
        self.state.evidence = collecting.read()
        self.state.diagnosis = self._diagnose(None)
        self.state.exit_code = self._choose_exit_code(None)
        self.file.write(self.state.make_record())
        self._end_tree()

    def _end_tree(self) -> None:
        self.told_to_end = True
        self.guarded.begin_end()

    def note_progress(self) -> None:
        """The last sign of life until now."""
        state, output = self.state, self.state.output
        state.sign_line = output.last_line
        state.sign, state.sign_at_s = self.life.sign, self.life.at_s
        if output.at_s is not None and output.at_s > self.life.at_s:
            state.sign, state.sign_at_s = "output", output.at_s

    def conclude(self) -> None:
        """What is to be said of a command whose tree is gone: its ending, its exit code and its class."""
        state, ended = self.state, self.guarded.end()
        if state.ending is Ending.RUNNING or not self.told_to_end:
            if self._collecting is not None:  # it ended while it was looked at
                self._ended_itself = True
                while not self._collecting.done:
                    time.sleep(0.02)
                state.evidence = self._collecting.read()
            state.ending = Ending.EXITED
        state.returncode = ended.returncode if state.ending is Ending.EXITED else None
        state.exit_code = self._choose_exit_code(ended.returncode)
        if not self._ended_itself and state.ending not in {Ending.STALLED, Ending.TIME_LIMIT}:
            self.note_progress()  # of one that was ended what it said as it died is no sign of life
        if state.ending is Ending.EXITED and not self._ended_itself:
            state.evidence = self._collect_afterwards()
        if state.ending in {Ending.EXITED, Ending.REACHED}:
            state.diagnosis = self._diagnose(ended.pid)

    def _collect_afterwards(self) -> Evidence:
        """What the machine says of a command that failed; of one that succeeded nobody asks."""
        if self.state.returncode == 0:
            return Evidence()
        from triage.hangs._collect import collect_evidence

        baseline = self.reading.wait()
        return collect_evidence(
            list, folder=self.folder, clock=self.state.clock, limit_s=_STOP_LIMIT_S, baseline=baseline
        )

    def _diagnose(self, pid: int | None) -> Diagnosis:
        """``pid`` is the command's own where it is known: it may have ended before anybody looked."""
        state = self.state
        if state.ending is Ending.EXITED and state.returncode == 0:
            words = "The command ended by itself" + (" while it was looked at." if self._ended_itself else ".")
            return Diagnosis(hang_class=HangClass.NONE, because=(words,))
        from triage.hangs._classify import diagnose

        found = diagnose(
            state.evidence,
            ending=state.ending,
            returncode=state.returncode,
            progressing=state.ending in {Ending.TIME_LIMIT, Ending.STOPPED} and self._progressing,
            seen_pids=self.life.pids | ({pid} if pid is not None else set()),
        )
        if self._ended_itself:
            words = "It had given no sign of life, and ended by itself while it was looked at."
            return Diagnosis(hang_class=found.hang_class, because=(*found.because, words))
        return found

    def _choose_exit_code(self, returncode: int | None) -> int:
        match self.state.ending:
            case Ending.STALLED | Ending.TIME_LIMIT:
                return EXIT_HANG
            case Ending.STOPPED:
                return 128 + self.stops[0]
            case Ending.REACHED:
                return 0
        if returncode is None:
            return _EXIT_LOST
        return returncode if returncode >= 0 else 128 - returncode
