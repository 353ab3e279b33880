"""What the runner asks of the worker, and what the worker answers. Both cross a process boundary as JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class End(StrEnum):
    """How the run of a notebook ended."""

    FINISHED = "finished"  # papermill came to the last cell; the audit has the last word
    CELL_FAILED = "cell_failed"
    CELL_TIMED_OUT = "cell_timed_out"
    KERNEL_DIED = "kernel_died"
    KERNEL_DID_NOT_START = "kernel_did_not_start"
    NOT_SAVED = "not_saved"  # the disk is full, the folder is gone or read-only
    TIMED_OUT = "timed_out"  # the time limit of the whole notebook
    STOPPED = "stopped"  # Ctrl-C, SIGTERM
    WORKER_DIED = "worker_died"  # its log says why


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Request(_Message):
    """One run: paths are absolute, ``folder`` is where the kernel works."""

    source: str
    output: str
    folder: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    cell_timeout_s: int | None = None
    progress: str  # a file that holds how many cells have ended


class Outcome(_Message):
    """How a run ended; ``papermill_s`` is the time inside papermill alone."""

    end: End
    detail: str = ""
    papermill_s: float = 0.0
