"""How many notebooks this machine can run side by side."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

JOB_MEMORY_BYTES = 4 * 2**30  # a kernel and a server with a tiny checkpoint, as `triage doctor` asks for
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """``count`` jobs at a time; ``limit`` says what allows no more, and is None where nothing had to be cut."""

    count: int
    limit: str | None = None


def plan_jobs(asked: int, *, gpus: int = 0, cores: int | None = None, memory_bytes: int | None = None) -> Jobs:
    """As many jobs as were asked for, or as there are cores, memory and GPUs for; always one.

    ``gpus`` is the number of GPUs, each for one job; 0 means that there is none to share.

    >>> plan_jobs(8, gpus=4, cores=16, memory_bytes=64 * 2**30)
    Jobs(count=4, limit='4 GPUs')
    >>> plan_jobs(2, cores=2, memory_bytes=24 * 2**30)
    Jobs(count=2, limit=None)
    """
    cores = count_cores() if cores is None else cores
    memory_bytes = read_available_bytes() if memory_bytes is None else memory_bytes
    room = {
        _say(cores, "core"): cores,
        f"{memory_bytes / 2**30:.1f} GiB of free memory": memory_bytes // JOB_MEMORY_BYTES,
    }
    if gpus:
        room[_say(gpus, "GPU")] = gpus
    limit = min(room, key=room.__getitem__)
    count = max(1, min(asked, room[limit]))
    return Jobs(count=count, limit=limit if count < asked else None)


def count_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its container.

    >>> count_cores() >= 1
    True
    """
    allowed = len(os.sched_getaffinity(0))
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def read_available_bytes() -> int:
    """The memory that is free for new processes, on the machine and in the container."""
    available: int = psutil.virtual_memory().available
    limit, used = _read(_CGROUP / "memory.max"), _read(_CGROUP / "memory.current")
    if limit.isdigit() and used.isdigit():
        cached = sum(map(int, re.findall(r"^(?:in)?active_file (\d+)$", _read(_CGROUP / "memory.stat"), re.MULTILINE)))
        available = min(available, max(0, int(limit) - int(used) + cached))  # a cache makes room when it is asked to
    return available


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:  # another version of cgroups, or none
        return ""


def _say(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
