"""What the benchmarks of the watch share: commands, and how their cost is read."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WATCH = (sys.executable, "-m", "triage.cli", "watch")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a command took, in seconds: on the wall, and of the CPU with all it started."""

    wall_s: float
    cpu_s: float


def run_costing(command: Sequence[str], **options: object) -> Cost:
    """Runs a command to its end; it must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, **options)  # type: ignore[call-overload]
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s=wall_s, cpu_s=cpu_s)


def list_marked(mark: str) -> list[int]:
    """The living processes that carry a mark in their environment, whatever they call themselves."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                marked = mark.encode() in Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:  # ended, or of another user
                continue
            if marked:
                found.append(int(entry))
    return found
