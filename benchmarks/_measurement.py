"""What a benchmark says, and how processes are timed."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A promise, what was measured, what the limit is, and what a well-known tool needs for the like.

    ``spread`` is the smallest and the largest of the single runs, in the unit of ``measured``.
    """

    promise: str
    measured: float
    limit: float
    unit: str
    spread: tuple[float, float]
    peer: str
    peer_measured: float
    peer_unit: str = "s"

    @property
    def ok(self) -> bool:
        """Whether the promise was kept."""
        return self.measured <= self.limit


def time_command(command: Sequence[str], *, runs: int) -> list[float]:
    """The wall time of each run of a command, in seconds, after one run that fills the caches."""
    seconds = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def summarise(seconds: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median and the spread."""
    return statistics.median(seconds), (min(seconds), max(seconds))
