"""One run of one arm: a fresh process under the watchdog, retries off, its output kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from triage.errors import TriageError
from triage.fleet import name_node
from triage.hangs import Ending, watch_command
from triage.verify._arms import Arm
from triage.verify._attempt import Attempt
from triage.verify._opened import OpenedFiles
from triage.verify._outcome import read_end

SHIM = Path(__file__).with_name("shim")
_PLUGIN = "-p triage_single_run"
LOG_NAME = "output.log"


class StoppedError(TriageError):
    """The driver was told to stop while a run was going on; the run has been ended, and says nothing."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a run is ended: after ``timeout_s`` in all, or ``stall_s`` without a sign of life."""

    timeout_s: float | None = 1800.0
    stall_s: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in the plan: which arm, beside which other run, in which order; ``number`` counts all slots."""

    arm: str
    pair: int
    number: int

    @property
    def name(self) -> str:
        """The name of its files.

        >>> Slot(arm="after", pair=3, number=7).name
        '00007-after'
        """
        return f"{self.number:05d}-{self.arm}"


def run_attempt(
    arm: Arm, slot: Slot, *, out: Path, limits: Limits, changed: Sequence[Path] = ()
) -> tuple[Attempt, list[Path] | None]:
    """Runs the arm's command once. Its log and, after a hang, the evidence lie in ``out/<slot>/``.

    Returns the attempt, and which of the ``changed`` files the run opened (None where nobody can tell). Raises
    `StoppedError` where the driver is told to stop meanwhile, and `InputError` for a command that cannot be run.
    """
    folder = out / slot.name
    shutil.rmtree(folder, ignore_errors=True)  # of a try that was lost
    folder.mkdir(parents=True)
    log = folder / LOG_NAME
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    try:
        with OpenedFiles(changed) as watched:
            record = watch_command(
                arm.command,
                out=folder,
                stall_s=limits.stall_s,
                timeout_s=limits.timeout_s,
                env=make_environment(arm.env),
                cwd=arm.folder,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
            )
            opened = None if watched.why_not else watched.read()
    finally:
        os.close(descriptor)
    if record.ending is Ending.STOPPED:
        raise StoppedError(f"Stopped during run {slot.number}.")
    end, seen = read_end(record, log)
    attempt = Attempt(
        arm=arm.name,
        index=slot.number,
        pair=slot.pair,
        end=end,
        returncode=record.returncode,
        seen=seen,
        seconds=record.duration_s,
        node=name_node(),
        started=record.started,
        log=f"{slot.name}/{LOG_NAME}",
        log_sha256=hashlib.sha256(log.read_bytes()).hexdigest(),
    )
    return attempt, opened


def make_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run: this process's, the arm's variables, and pytest's retries off.

    >>> make_environment({"PYTEST_ADDOPTS": "-q"})["PYTEST_ADDOPTS"]
    '-q -p triage_single_run'
    """
    env = dict(os.environ) | dict(extra)
    env["PYTEST_ADDOPTS"] = f"{env.get('PYTEST_ADDOPTS', '')} {_PLUGIN}".strip()
    # Behind all else: it holds one module, which nobody else's is called.
    env["PYTHONPATH"] = os.pathsep.join([*filter(None, [env.get("PYTHONPATH")]), str(SHIM)])
    return env
