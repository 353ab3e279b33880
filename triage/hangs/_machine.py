"""What the machine knows besides the tree: memory, its limits, kills for want of it, and shared memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from triage.hangs._gpu import ROOT, has_gpu, read_gpus, read_sysfs
from triage.hangs._kernel import list_devcoredumps, read_log_time
from triage.hangs._procfs import read_text
from triage.hangs._sample import GpuSample

SHM = Path("/dev/shm")
_MEMINFO = {
    "MemTotal": "total_bytes",
    "MemAvailable": "available_bytes",
    "SwapTotal": "swap_total_bytes",
    "SwapFree": "swap_free_bytes",
    "Shmem": "shmem_bytes",
}
_UNLIMITED = 1 << 60  # version 1 of cgroups writes a huge number for no limit
_BASELINE_GPU_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The machine before a command: what it did not do. A field is None where it could not be read.

    ``kernel_log_s`` is the kernel's own clock, ``oom_kills`` counts by source, ``devcoredumps`` are the kernel's
    numbers of the dumps that were there.
    """

    kernel_log_s: float | None
    shm: dict[str, int] | None
    oom_kills: dict[str, int]
    devcoredumps: frozenset[str]
    vram_used_bytes: int | None


def read_baseline(*, root: Path = ROOT) -> Baseline:
    """To be read before the command starts. Starts a tool only where a GPU is there that /sys says nothing of."""
    gpu = read_sysfs(root=root)
    if gpu is None and has_gpu(root=root):
        gpu, _ = read_gpus(limit_s=_BASELINE_GPU_S, root=root)
    return Baseline(
        kernel_log_s=read_log_time(),
        shm=read_shm(),
        oom_kills=read_oom_kills(find_cgroups([os.getpid()])),
        devcoredumps=frozenset(list_devcoredumps(root)),
        vram_used_bytes=sum_vram(gpu),
    )


def sum_vram(gpu: GpuSample | None) -> int | None:
    """The memory taken on all GPUs together."""
    used = [reading.vram_used_bytes for reading in gpu.readings if reading.vram_used_bytes is not None] if gpu else []
    return sum(used) if used else None


def read_shm(folder: Path = SHM) -> dict[str, int] | None:
    """The files in /dev/shm with their sizes; None where it cannot be listed."""
    found = {}
    try:
        for parent, _, names in os.walk(folder, onerror=_raise):
            for name in names:
                path = os.path.join(parent, name)
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    found[path.encode(errors="backslashreplace").decode()] = os.lstat(path).st_size
    except OSError:
        return None
    return dict(sorted(found.items()))


def _raise(error: OSError) -> None:
    raise error


def find_cgroups(pids: Iterable[int]) -> list[Path]:
    """The folders of the memory cgroups of processes, of either version, each once."""
    found: dict[Path, None] = {}
    for pid in pids:
        for line in (read_text(f"/proc/{pid}/cgroup") or "").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":
                roots = [Path("/sys/fs/cgroup/memory")]
            elif not controllers:
                roots = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
            else:
                continue
            for root in roots:
                # Inside a container the path may be the host's, and its own group is the root that it sees.
                inside = root / path.lstrip("/")
                folder = inside if inside.is_dir() else root
                if any((folder / name).exists() for name in ("memory.events", "memory.oom_control", "memory.max")):
                    found[folder] = None
    return list(found)


def read_oom_kills(cgroups: Iterable[Path]) -> dict[str, int]:
    """How many processes the kernel has killed for want of memory so far, by source: cgroups, and the machine."""
    found = {}
    for path in [*(f"{folder}/{name}" for folder in cgroups for name in ("memory.events", "memory.oom_control"))]:
        if (count := _read_field(path, "oom_kill")) is not None:
            found[path] = count
    if (count := _read_field("/proc/vmstat", "oom_kill")) is not None:
        found["/proc/vmstat"] = count
    return found


def _read_field(path: str, field: str) -> int | None:
    rows = (line.split() for line in (read_text(path) or "").splitlines())
    return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == field and row[1].isdigit()), None)


def read_memory(pids: Iterable[int], baseline: Baseline | None) -> dict[str, int]:
    """Bytes and counts by name: of the machine, and of the tightest memory cgroup of the processes.

    ``oom_kills`` is counted since the baseline. ``oom_kills_in_cgroup`` beside it counts only the cgroups of the
    processes and of this one: in a container the machine's count holds the neighbours' too.
    """
    memory = {}
    for line in (read_text("/proc/meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key in _MEMINFO:
            memory[_MEMINFO[key]] = int(value.split()[0]) * 1024
    cgroups = find_cgroups([os.getpid(), *pids])
    limits = [(limit, folder) for folder in cgroups for limit in [read_limit(folder)] if limit is not None]
    if limits:
        limit, folder = min(limits)
        memory["cgroup_limit_bytes"] = limit
        for name in ("memory.current", "memory.usage_in_bytes"):
            if (used := read_text(f"{folder}/{name}")) is not None and used.isdigit():
                memory["cgroup_used_bytes"] = int(used)
    if baseline is not None:
        # A cgroup that the baseline does not know was made for the command: it began at zero.
        new = {path: count - baseline.oom_kills.get(path, 0) for path, count in read_oom_kills(cgroups).items()}
        if new:
            memory["oom_kills"] = max(new.values())
        own = [count for path, count in new.items() if path != "/proc/vmstat"]
        if own:
            memory["oom_kills_in_cgroup"] = max(own)
    return memory


def read_limit(cgroup: Path) -> int | None:
    """The memory limit of a cgroup and of those above it, whichever is lowest; None without one."""
    limits = []
    while cgroup != cgroup.parent and cgroup.name:
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = read_text(str(cgroup / name))
            if text and text.isdigit() and int(text) < _UNLIMITED:
                limits.append(int(text))
        if cgroup == Path("/sys/fs/cgroup"):
            break
        cgroup = cgroup.parent
    return min(limits, default=None)
