"""The record of a watch while it is made, and the file that is readable at every moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from triage.files import replace_file
from triage.hangs._lines import Output
from triage.hangs._record import Diagnosis, Ending, HangClass, HangRecord, Leftover, Progress, Residue, Tick
from triage.hangs._sample import Evidence
from triage.redaction import redact_text

RECORD_NAME = "hang.json"
_TICKS_MOST = 600  # then every second one goes: the record of a day is no bigger than that of an hour
_WRITE_EVERY_S = 10.0
_WRITE_SHARE = 0.001  # of the time may go into writing


def now_utc() -> str:
    """The time of day, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class State:
    """What is known so far."""

    command: tuple[str, ...]
    stall_s: float
    timeout_s: float | None
    clock: Callable[[], float]
    output: Output
    ending: Ending = Ending.RUNNING
    sign: str = "output"
    sign_at_s: float = 0.0
    sign_line: str | None = None  # the last line before the watch acted: what it then prints is no sign of life
    diagnosis: Diagnosis = field(
        default_factory=lambda: Diagnosis(hang_class=HangClass.NONE, because=("The command is still running.",))
    )
    evidence: Evidence = field(default_factory=Evidence)
    orphans: tuple[Leftover, ...] = ()
    residue: Residue = field(default_factory=Residue)
    ticks: list[Tick] = field(default_factory=list)
    returncode: int | None = None
    exit_code: int = 0
    duration_s: float | None = None
    started: str = field(default_factory=now_utc)
    versions: dict[str, str | None] = field(default_factory=dict)
    tick_stride: int = 1
    _skipped: int = 0

    def add_tick(self, tick: Tick) -> None:
        """A point of the timeline; where there are too many, every second one goes, from then on too."""
        self._skipped += 1
        if self._skipped < self.tick_stride:
            return
        self._skipped = 0
        self.ticks.append(tick)
        if len(self.ticks) > _TICKS_MOST:
            self.ticks = self.ticks[::2]
            self.tick_stride *= 2

    def make_record(self) -> HangRecord:
        """The record at this moment."""
        now_s = self.clock() if self.duration_s is None else self.duration_s
        return HangRecord(
            command=self.command,
            ending=self.ending,
            diagnosis=self.diagnosis,
            phase=self.output.phase,
            phases=tuple(self.output.phases),
            last_progress=Progress(
                sign=self.sign, line=self.sign_line, age_s=max(0.0, round(now_s - self.sign_at_s, 3))
            ),
            evidence=self.evidence,
            orphans=self.orphans,
            residue=self.residue,
            timeline=tuple(self.ticks),
            returncode=self.returncode,
            exit_code=self.exit_code,
            duration_s=now_s,
            stall_s=self.stall_s,
            timeout_s=self.timeout_s,
            started=self.started,
            versions=self.versions,
        )


class RecordFile:
    """``hang.json`` in its folder. A disk that fills up later costs the record, not the command."""

    def __init__(self, folder: Path, complain: Callable[[str], None]) -> None:
        self.path = folder / RECORD_NAME
        self._complain = complain
        self._due_at_s = 0.0
        self.lost = False

    def write(self, record: HangRecord) -> None:
        """Replaces the file, whole, without this machine's paths, host name and secrets: it is passed on with reports.

        Complains once where it cannot be written.
        """
        began = time.monotonic()
        try:
            replace_file(self.path, (redact_text(record.to_text()) + "\n").encode(errors="backslashreplace"))
            self.lost = False
        except OSError as error:
            if not self.lost:
                self._complain(f"{self.path} cannot be written ({error.strerror or error}). The command goes on.")
            self.lost = True
        took_s = time.monotonic() - began
        self._due_at_s = began + max(_WRITE_EVERY_S, took_s / _WRITE_SHARE)

    def write_if_due(self, make: Callable[[], HangRecord]) -> None:
        """Replaces the file if the last time is long ago."""
        if time.monotonic() >= self._due_at_s:
            self.write(make())
