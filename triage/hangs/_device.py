"""Waits for a GPU: which threads are in one, and whether that GPU works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from triage.hangs._names import (
    DEVICE_WAITS,
    GPU_FILES,
    PYTHON_DEVICE_WAITS,
    RUNTIME_THREADS,
    is_named,
    is_placed,
)
from triage.hangs._sample import Frame, Process, Sample, Thread

BUSY_PERCENT = 90.0
IDLE_PERCENT = 5.0
_WAITING_STATES = frozenset("RSD")  # the host spins (R), sleeps, or sits in the driver


@dataclass(frozen=True, kw_only=True)
class DeviceWait:
    """A thread that waits for a GPU. ``frames`` begin with the innermost call that is known to be such a wait.

    What happens below it (a clock that is read, a signal that is polled) differs from moment to moment and is left
    out. ``place`` tells whether the thread has moved: Python's own calls, for one of two samples may lack the native
    ones (py-spy can be late with the symbols of a GPU's libraries); native calls where there are no others. Two waits
    are equal where the thread has not moved.
    """

    pid: int
    start_ticks: int
    tid: int
    name: str
    place: tuple[Frame, ...]
    frames: tuple[Frame, ...] = field(compare=False)

    def __str__(self) -> str:
        """As the wait is quoted.

        >>> frame = Frame(function="hipDeviceSynchronize", file="libamdhip64.so", native=True)
        >>> str(DeviceWait(pid=7, start_ticks=0, tid=7, name="python3", place=(frame,), frames=(frame,)))
        'python3 (pid 7, thread 7) waits for the GPU in hipDeviceSynchronize (libamdhip64.so)'
        """
        own = next((f for f in self.frames if not f.native), None)
        below = "" if own is None or own == self.frames[0] else f", called by {own}"
        return f"{self.name} (pid {self.pid}, thread {self.tid}) waits for the GPU in {self.frames[0]}{below}"


class GpuLoad(StrEnum):
    """What the GPUs did in both samples."""

    BUSY = "busy"
    IDLE = "idle"
    UNKNOWN = "unknown"


def find_device_wait(sample: Sample) -> tuple[DeviceWait, ...]:
    """The threads that are inside a wait for a GPU, by native name or by the Python function that waits.

    A stopped thread waits for nothing, and the runtime's own event threads do not count: they wait all their life.
    Waits of two samples can be compared with ``==``; equal ones have not moved.

    >>> frames = (Frame(function="synchronize", file="torch/cuda/__init__.py", line=1083),)
    >>> thread = Thread(tid=7, name="MainThread", state="R", cpu_s=9.0, frames=frames)
    >>> process = Process(pid=7, ppid=1, name="python3", command=(), state="R", cpu_s=9.0, rss_bytes=0,
    ...     start_ticks=1, threads=(thread,))
    >>> [wait.tid for wait in find_device_wait(Sample(at_s=1.0, processes=(process,)))]
    [7]
    """
    return tuple(
        wait
        for process in sample.processes
        if process.state in _WAITING_STATES
        for thread in process.threads
        if thread.state in _WAITING_STATES and (wait := _read_wait(process, thread))
    )


def is_device_wait(thread: Thread) -> bool:
    """Whether the stack of a thread is one of a wait for a GPU, whatever its state."""
    return _find_start(thread) is not None


def opens_gpu(process: Process) -> bool:
    """Whether a process holds a GPU's device file."""
    return any(file.target.startswith(GPU_FILES) for file in process.files)


def judge_load(samples: Sequence[Sample], *, own_pids: frozenset[int]) -> tuple[GpuLoad, str]:
    """Whether the GPUs were busy or idle in every sample, and the words for it.

    Where several GPUs disagree, a busy one counts only if nobody but ``own_pids`` holds a GPU: on a shared machine it
    may be a neighbour's, and an idle one may be the neighbour's as well.
    """
    figures: list[list[float]] = []
    for sample in samples:
        readings = sample.gpu.readings if sample.gpu else ()
        known = [r.utilisation_percent for r in readings if r.utilisation_percent is not None]
        if not readings or len(known) < len(readings):
            return GpuLoad.UNKNOWN, "The utilisation of the GPU is not known in both samples."
        figures.append(known)
    source = next(sample.gpu.source for sample in samples if sample.gpu)
    told = " and then ".join(", ".join(f"{figure:.0f} %" for figure in known) for known in figures)
    words = f"GPU utilisation: {told} ({source})"
    if all(figure >= BUSY_PERCENT for known in figures for figure in known):
        return GpuLoad.BUSY, words
    if all(figure <= IDLE_PERCENT for known in figures for figure in known):
        return GpuLoad.IDLE, words
    holders = [{h.pid for h in sample.gpu.holders} for sample in samples if sample.gpu]
    all_ours = all(held and held <= own_pids for held in holders)
    steady = any(all(figure >= BUSY_PERCENT for figure in gpu) for gpu in zip(*figures, strict=False))
    waiting = {wait.pid for sample in samples for wait in find_device_wait(sample)}
    if all_ours and steady and len(waiting) == 1:
        return GpuLoad.BUSY, f"{words}; nobody else holds a GPU"
    return GpuLoad.UNKNOWN, f"{words}: neither all busy nor all idle."


def _read_wait(process: Process, thread: Thread) -> DeviceWait | None:
    start = _find_start(thread)
    if start is None:
        return None
    frames = thread.frames[start:]
    return DeviceWait(
        pid=process.pid,
        start_ticks=process.start_ticks,
        tid=thread.tid,
        name=process.name,
        place=tuple(frame for frame in frames if not frame.native) or frames,
        frames=frames,
    )


def _find_start(thread: Thread) -> int | None:
    """The index of the innermost frame that is a wait for a GPU."""
    if any(is_named(frame, RUNTIME_THREADS) for frame in thread.frames):
        return None
    for index, frame in enumerate(thread.frames):
        if is_named(frame, DEVICE_WAITS) or is_placed(frame, PYTHON_DEVICE_WAITS):
            return index
    return None
