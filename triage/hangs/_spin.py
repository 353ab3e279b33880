"""CPU time that is burnt inside a wait for a GPU is no sign of life: stacks, taken now and then, tell it apart.

A host thread that waits for a hung GPU spins in state R with a whole core. So when a tree that holds a GPU has long
printed nothing, it is looked at more closely. Work between two looks shows as a stack that is elsewhere.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from glob import glob

from triage.hangs._names import GPU_FILES
from triage.hangs._sample import Sample

LOOKS_LEAST = 3  # one look alone would also meet a loop that has just come to its synchronize
_WINDOW_SHARE = 0.35  # of stall_s, that the looks must span
_GAP_SHARE = 0.1  # of stall_s, between two looks
_BUSY_FILES = "/sys/class/drm/card*/device/gpu_busy_percent"


class SpinProbe:
    """Looks at the stacks of a tree that holds a GPU. ``take`` takes a sample of processes, in a few seconds."""

    def __init__(self, take: Callable[[list[int]], Sample], *, stall_s: float) -> None:
        self._take = take
        self._stall_s = stall_s
        self._looks: list[tuple[float, frozenset[object]]] = []
        self._thread: threading.Thread | None = None
        self._sample: Sample | None = None
        self._next_s = 0.0

    def look(self, pids: list[int], now_s: float) -> None:
        """Starts a look if one is due, and takes in the one before. Returns at once."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._sample is not None:
            self.note(self._sample, now_s)
            self._sample = None
        holders = [pid for pid in pids if holds_gpu(pid)] if now_s >= self._next_s else []
        if holders:
            self._next_s = now_s + _GAP_SHARE * self._stall_s
            self._thread = threading.Thread(target=self._run, args=(holders,), daemon=True)
            self._thread.start()

    def _run(self, pids: list[int]) -> None:
        self._sample = self._take(pids)

    def note(self, sample: Sample, now_s: float) -> None:
        """One look: which threads wait for a GPU, and whether any other is on a CPU."""
        from triage.hangs._device import find_device_wait

        waits = find_device_wait(sample)
        waiting = {(wait.pid, wait.tid) for wait in waits}
        works = any(
            thread.state == "R" and (process.pid, thread.tid) not in waiting
            for process in sample.processes
            for thread in process.threads
        )
        self._looks.append((now_s, frozenset() if works else frozenset(waits)))
        if not self._same():  # it has moved: what was seen before counts no longer
            self._looks = self._looks[-1:] if self._looks[-1][1] else []

    def _same(self) -> bool:
        return bool(frozenset.intersection(*(waits for _, waits in self._looks)))

    def forget(self) -> None:
        """There was another sign of life."""
        self._looks = []

    @property
    def suspects(self) -> bool:
        """Whether the last looks met the same wait: what the tree burns may be no work."""
        return len(self._looks) > 1

    @property
    def spins(self) -> bool:
        """Whether the tree did nothing but wait for a GPU, over looks enough and far enough apart."""
        if len(self._looks) < LOOKS_LEAST:
            return False
        return self._looks[-1][0] - self._looks[0][0] >= _WINDOW_SHARE * self._stall_s


def holds_gpu(pid: int) -> bool:
    """Whether a process has a GPU open."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(_read_link(entry.path).startswith(GPU_FILES) for entry in entries)
    except OSError:  # ended, or of another user
        return False


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


class GpuUse:
    """How busy the GPUs are by sysfs, which asks no tool; None on a machine without such files."""

    def __init__(self) -> None:
        self._paths = glob(_BUSY_FILES)

    def read_percent(self) -> float | None:
        """The busiest one."""
        found = []
        for path in self._paths:
            try:
                with open(path, encoding="ascii") as file:
                    found.append(float(file.read()))
            except (OSError, ValueError):  # the driver is resetting it, say
                continue
        return max(found, default=None)
