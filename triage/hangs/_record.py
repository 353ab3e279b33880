"""The record of a watched command: its class, how it ended, its timeline, and the evidence that was taken.

Plain dataclasses of the standard library: a watch must cost a healthy command next to nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from triage.hangs._sample import Evidence, Sample

SCHEMA_VERSION: Literal[1] = 1


class HangClass(StrEnum):
    """What became of a watched command, or what keeps it."""

    NONE = "none"  # it ended by itself, or is going on
    SLOW_PROGRESS = "slow_progress"  # at its time limit, and still working
    HOST_DEADLOCK = "host_deadlock"  # nothing in the tree can go on; each waits for another, and no GPU is involved
    DEVICE_BUSY = "device_busy"  # the GPU runs and never retires
    DEVICE_IDLE_WAIT = "device_idle_wait"  # the host waits for a GPU that is idle
    SHUTDOWN_HANG = "shutdown_hang"  # the main thread is done; threads or children keep the process
    CRASHED = "crashed"
    OOM_KILLED = "oom_killed"
    UNKNOWN = "unknown"  # the evidence does not decide

    @property
    def is_hang(self) -> bool:
        """Whether it names a command that would never have ended.

        >>> HangClass.DEVICE_BUSY.is_hang, HangClass.CRASHED.is_hang
        (True, False)
        """
        return self in {
            HangClass.HOST_DEADLOCK,
            HangClass.DEVICE_BUSY,
            HangClass.DEVICE_IDLE_WAIT,
            HangClass.SHUTDOWN_HANG,
        }


@dataclass(frozen=True, kw_only=True)
class PhaseMark:
    """A phase of vLLM's start-up that began ``at_s`` after the start, and the line that said so."""

    phase: str
    at_s: float
    line: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The last sign of life. ``sign`` is ``output``, ``phase``, ``cpu``, ``switches``, ``io`` or ``gpu``."""

    sign: str
    line: str | None
    age_s: float


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One point of the timeline, ``at_s`` after the start; rates are since the point before.

    ``cpu_percent`` is of one core. ``gpu_percent`` is None where it was not read.
    """

    at_s: float
    output_bytes: int
    cpu_percent: float
    rss_bytes: int
    processes: int
    gpu_percent: float | None = None


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A process that was alive when its command had ended, or that outlived SIGKILL."""

    pid: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Residue:
    """What the command left on the machine after its last process was gone; None where it could not be read.

    ``shm`` is {path: bytes}, ``ports`` the TCP ports that it had listened on and that are still taken,
    ``vram_bytes`` what more of the GPUs' memory is taken than before the command.
    """

    shm: dict[str, int] | None = None
    ports: tuple[int, ...] | None = None
    vram_bytes: int | None = None
    survivors: tuple[Leftover, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A class, and the lines of evidence that decided it. Without those lines the class would be ``unknown``."""

    hang_class: HangClass
    because: tuple[str, ...]


class Ending(StrEnum):
    """What ended a watched command."""

    RUNNING = "running"  # it has not ended: the record was written while it ran
    EXITED = "exited"  # by itself
    STALLED = "stalled"  # the watch ended it: no sign of life
    TIME_LIMIT = "time_limit"  # the watch ended it: its time was up
    STOPPED = "stopped"  # the watch was told to stop
    REACHED = "reached"  # the caller wanted no more of it: the awaited phase came


@dataclass(frozen=True, kw_only=True)
class HangRecord:
    """All that is known of one watched command: the content of ``hang.json``.

    ``returncode`` is the command's own, negative for death by a signal as in `subprocess`; None while it runs, and
    where the watch ended it. ``exit_code`` is what ``triage watch`` exits with.
    """

    command: tuple[str, ...]
    ending: Ending
    diagnosis: Diagnosis
    phase: str | None
    phases: tuple[PhaseMark, ...]
    last_progress: Progress
    evidence: Evidence
    orphans: tuple[Leftover, ...]
    residue: Residue
    timeline: tuple[Tick, ...]
    returncode: int | None
    exit_code: int
    duration_s: float
    stall_s: float
    timeout_s: float | None
    started: str
    versions: dict[str, str | None]

    @property
    def hung(self) -> bool:
        """Whether the command would not have gone on: it was ended for a stall, or its class is a hang."""
        return self.ending is Ending.STALLED or self.diagnosis.hang_class.is_hang

    def to_json(self) -> dict[str, Any]:
        """The contract's fields, and what else is known. Processes carry the stacks of both samples."""
        last = self.evidence.samples[-1] if self.evidence.samples else None
        return {
            "schema_version": SCHEMA_VERSION,
            "hung": self.hung,
            "class": self.diagnosis.hang_class.value,
            "because": list(self.diagnosis.because),
            "ending": self.ending.value,
            "command": list(self.command),
            "phase": self.phase,
            "phases": [asdict(mark) for mark in self.phases],
            "last_progress": {
                "line": self.last_progress.line,
                "age_s": round(self.last_progress.age_s, 3),
                "sign": self.last_progress.sign,
            },
            "processes": _merge_processes(self.evidence.samples),
            "gpu": None if last is None or last.gpu is None else asdict(last.gpu),
            "kernel_log": list(self.evidence.kernel_log),
            "not_collected": [asdict(item) for item in self.evidence.not_collected],
            "orphans": [asdict(process) for process in self.orphans],
            "residue": asdict(self.residue),
            "returncode": self.returncode,
            "exit_code": self.exit_code,
            "duration_s": round(self.duration_s, 3),
            "stall_s": self.stall_s,
            "timeout_s": self.timeout_s,
            "started": self.started,
            "versions": self.versions,
            "samples": [asdict(sample) for sample in self.evidence.samples],
            "devcoredumps": list(self.evidence.devcoredumps),
            "shm": self.evidence.shm,
            "memory": self.evidence.memory,
            "timeline": [asdict(tick) for tick in self.timeline],
        }

    def to_text(self) -> str:
        """The content of ``hang.json``."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False)


def _merge_processes(samples: tuple[Sample, ...]) -> list[dict[str, Any]]:
    """Each process once, as last seen, with the stacks of every sample."""
    merged: dict[tuple[int, int], dict[str, Any]] = {}
    for sample in samples:
        for process in sample.processes:
            entry = merged.setdefault((process.pid, process.start_ticks), {"stacks": []})
            main = process.threads[0] if process.threads else None
            stacks = [
                {
                    "tid": thread.tid,
                    "name": thread.name,
                    "state": thread.state,
                    "holds_gil": thread.holds_gil,
                    "frames": [str(frame) for frame in thread.frames],
                }
                for thread in process.threads
                if thread.frames
            ]
            if stacks:
                entry["stacks"].append({"at_s": sample.at_s, "source": process.stack_source, "threads": stacks})
            entry |= {
                "pid": process.pid,
                "ppid": process.ppid,
                "name": process.name,
                "state": process.state,
                "wchan": main.wchan if main else None,
                "syscall": main.syscall if main else None,
                "stack_error": process.stack_error,
            }
    return list(merged.values())
