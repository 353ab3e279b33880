"""Memory and disk: for servers, for what triage keeps, for models, for what processes share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

from triage.doctor._check import Check
from triage.files import find_cache

_CACHE_BYTES = 3 * 2**30  # tiny checkpoints, and a few historical versions of vLLM at 0.4 GB each
_HUB_BYTES = 20 * 2**30  # a model of 7 B parameters in 16 bits, and room to fetch it
_MEMORY_BYTES = 4 * 2**30  # one CPU server with a tiny checkpoint, and the notebook kernel beside it
_SHM_BYTES = 1 * 2**30  # vLLM's processes talk through it; Docker's default is 64 MiB
_GIB = 2**30


def check_memory() -> Check:
    """Memory that is available now."""
    available = psutil.virtual_memory().available
    return Check(
        name="memory",
        ok=available >= _MEMORY_BYTES,
        detail=f"{available / _GIB:.1f} GiB available",
        mend="" if available >= _MEMORY_BYTES else f"Free at least {_MEMORY_BYTES / _GIB:.0f} GiB",
    )


def check_shm(folder: Path = Path("/dev/shm")) -> Check:
    """Shared memory, through which vLLM's processes talk."""
    mend = "Start the container with --ipc=host, or with --shm-size=16g"
    try:
        total = shutil.disk_usage(folder).total
    except OSError as error:
        return Check(name="shared memory", ok=False, detail=f"{folder}: {error.strerror}", mend=mend)
    ok = total >= _SHM_BYTES
    return Check(name="shared memory", ok=ok, detail=f"{total / _GIB:.1f} GiB in all", mend="" if ok else mend)


def check_cache() -> Check:
    """The folder where triage keeps tiny checkpoints and historical versions."""
    cache = find_cache()
    existing, free = _measure(cache)
    if not os.access(existing, os.W_OK):
        return Check(
            name="cache", ok=False, detail=f"{existing} cannot be written", mend="Set TRIAGE_CACHE to another folder"
        )
    return Check(
        name="cache",
        ok=free >= _CACHE_BYTES,
        detail=f"{free / _GIB:.1f} GiB free",
        mend="" if free >= _CACHE_BYTES else "Free space, or set TRIAGE_CACHE to a folder on another disk",
    )


def check_hub_cache() -> Check:
    """The Hub cache: only a real model needs it, so a full disk there stops no case on a tiny one."""
    from triage.engine.hub import find_hub_cache

    existing, free = _measure(find_hub_cache())
    mend = "To fetch real models, set HF_HOME to a folder on another disk"
    if not os.access(existing, os.W_OK):
        return Check(name="hub cache", ok=True, detail=f"{existing} cannot be written", mend=mend)
    enough = free >= _HUB_BYTES
    told = f"{free / _GIB:.1f} GiB free" + ("" if enough else "; a 7 B model wants 20 GiB")
    return Check(name="hub cache", ok=True, detail=told, mend="" if enough else mend)


def _measure(folder: Path) -> tuple[Path, int]:
    """The nearest folder that exists, and the bytes that are free there."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return existing, shutil.disk_usage(existing).free
