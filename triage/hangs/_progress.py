"""The rule that tells a command that works from one that only waits: numbers in, a sign of life out.

Measured on vLLM 0.32 on a CPU, per second, over 40 to 100 s:

=============================================  ==========  =========  ================
process                                        CPU         wake-ups   CPU of a wake-up
=============================================  ==========  =========  ================
engine core of a start whose worker is stopped  0.003 %       0.2      0.1 to 0.3 ms
API server of that start                        0.003 %       0.1      0.1 to 0.2 ms
API server that waits for requests              0.25 %         11      0.2 ms
worker that waits for work                      1.4 %        1280      0.01 ms
=============================================  ==========  =========  ================

So neither a share of the CPU nor a number of wake-ups alone tells an idle poll from small pieces of work; what a
wake-up costs does. Reads and writes of all of them stay below 3 B/s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BUSY_SHARE = 0.05  # of one core: no idle process comes near
PIECE_SHARE = 0.002  # of one core, by one thread …
PIECE_S = 0.001  # … that runs so long whenever it wakes: work, no poll
PIECE_FLOOR_S = 0.002  # in a short interval one slow heartbeat is not yet work
ENDED_SHARE = 0.02  # of one core, by children that came and went: a shell that sleeps by turns needs a tenth of it
WAKES_PER_S = 5000.0  # of one process
IO_BYTES_PER_S = 16 * 1024.0  # of one process, read or written by system calls, or brought in from a disk
GPU_PERCENT = 5.0  # of a GPU that the tree has open


@dataclass(frozen=True, kw_only=True)
class ThreadWork:
    """What one thread did in an interval: CPU time, and how often it was put on a CPU."""

    cpu_s: float
    wakes: int


@dataclass(frozen=True, kw_only=True)
class ProcessWork:
    """What one process did in an interval. ``cpu_s`` includes threads that ended in it, ``ended_s`` is of children."""

    cpu_s: float
    ended_s: float = 0.0
    io_bytes: int = 0
    threads: tuple[ThreadWork, ...] = ()


def find_sign(works: Iterable[ProcessWork], *, interval_s: float, gpu_percent: float | None = None) -> str | None:
    """The sign of life in what a tree did in ``interval_s`` seconds: ``cpu``, ``switches``, ``io``, ``gpu`` or None.

    ``gpu_percent`` is the highest use of a GPU that the tree has open.

    >>> poll = ThreadWork(cpu_s=0.014, wakes=1280)
    >>> find_sign([ProcessWork(cpu_s=0.014, threads=(poll,))], interval_s=1.0) is None
    True
    >>> piece = ThreadWork(cpu_s=0.006, wakes=2)
    >>> find_sign([ProcessWork(cpu_s=0.006, threads=(piece,))], interval_s=1.0)
    'cpu'
    """
    signs = {_find_process_sign(work, interval_s) for work in works}
    if gpu_percent is not None and gpu_percent >= GPU_PERCENT:
        signs.add("gpu")
    return next((sign for sign in ("cpu", "io", "switches", "gpu") if sign in signs), None)


def _find_process_sign(work: ProcessWork, interval_s: float) -> str | None:
    if work.cpu_s >= BUSY_SHARE * interval_s or any(_is_working(thread, interval_s) for thread in work.threads):
        return "cpu"
    if work.ended_s >= ENDED_SHARE * interval_s:
        return "cpu"
    if work.io_bytes >= IO_BYTES_PER_S * interval_s:
        return "io"
    return "switches" if sum(thread.wakes for thread in work.threads) >= WAKES_PER_S * interval_s else None


def _is_working(thread: ThreadWork, interval_s: float) -> bool:
    enough_s = max(PIECE_SHARE * interval_s, PIECE_FLOOR_S)
    return thread.cpu_s >= enough_s and thread.cpu_s >= PIECE_S * thread.wakes
