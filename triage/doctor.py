"""Whether this machine can run the cases, and what mends it where it cannot."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import psutil
from packaging.specifiers import SpecifierSet

from triage.engine.environment import Platform, needs_torchvision_shim, read_platform, read_torch_build
from triage.engine.versions import KNOWN_VLLM, read_versions
from triage.errors import MissingDependencyError
from triage.files import find_cache

_CACHE_BYTES = 3 * 2**30  # tiny checkpoints, and a few historical versions of vLLM at 0.4 GB each
_MEMORY_BYTES = 4 * 2**30  # one CPU server with a tiny checkpoint, and the notebook kernel beside it


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing a case needs. ``detail`` is what was found, ``mend`` a command or a sentence, empty if all is well."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def check_machine() -> tuple[Check, ...]:
    """All checks, in the order in which a failure of one explains those below it. Imports neither torch nor vLLM.

    >>> [check.name for check in check_machine()][:2]
    ['python', 'torch']
    """
    checks: tuple[Callable[[], Check], ...] = (
        _check_python,
        _check_torch,
        _check_vllm,
        _check_torchvision,
        _check_torchaudio,
        _check_nvidia_packages,
        _check_device,
        _check_memory,
        _check_cache,
    )
    return tuple(check() for check in checks)


def _read_platform_or_none() -> Platform | None:
    try:
        return read_platform()
    except MissingDependencyError:
        return None


def _check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if _read_platform_or_none() is Platform.ROCM and sys.version_info[:2] != (3, 12):
        return Check(
            name="python",
            ok=False,
            detail=f"{version}; vLLM's ROCm wheels exist for 3.12 only",
            mend="conda env create -f environment.yml",
        )
    return Check(name="python", ok=True, detail=version)


def _check_torch() -> Check:
    try:
        build = read_torch_build()
    except MissingDependencyError as error:
        return Check(name="torch", ok=False, detail=error.message, mend=error.hint)
    runtime = f"HIP {build['hip']}" if build["hip"] else f"CUDA {build['cuda']}" if build["cuda"] else "CPU"
    if build["cuda"] and Path("/dev/kfd").exists():
        return Check(
            name="torch",
            ok=False,
            detail=f"{build['__version__']} is built for CUDA, and this is an AMD node (vLLM #44660)",
            mend="conda env create -f environment.yml, or use the Python of a vLLM ROCm image",
        )
    return Check(name="torch", ok=True, detail=f"{build['__version__']} ({runtime})")


def _check_vllm() -> Check:
    version = read_versions()["vllm"]
    if version is None or find_spec("vllm") is None:
        return Check(
            name="vllm", ok=False, detail="not installed", mend="make setup, or use the Python of a vLLM ROCm image"
        )
    if not SpecifierSet(KNOWN_VLLM).contains(version, prereleases=True):
        return Check(
            name="vllm",
            ok=False,
            detail=f"{version} is not among the versions that triage knows ({KNOWN_VLLM})",
            mend="Run the cases all the same; one that finds a name moved says so. Then report it.",
        )
    return Check(name="vllm", ok=True, detail=version)


def _check_torchvision() -> Check:
    if find_spec("torchvision") is None:
        return Check(
            name="torchvision",
            ok=False,
            detail="not installed; Qwen2.5-VL's video processor needs it",
            mend="pip install --no-deps torchvision, in the version that matches torch",
        )
    version = metadata.version("torchvision")
    if find_spec("torch") is not None and needs_torchvision_shim():
        return Check(
            name="torchvision", ok=True, detail=f"{version} for CUDA beside another torch; triage declares its schemas"
        )
    return Check(name="torchvision", ok=True, detail=version)


def _check_torchaudio() -> Check:
    """A CUDA build beside a CPU torch breaks ``import transformers``, and with it vLLM."""
    if find_spec("torchaudio") is None:
        return Check(name="torchaudio", ok=True, detail="not installed, not needed")
    version = metadata.version("torchaudio")
    if _read_platform_or_none() is Platform.CPU and not version.endswith("+cpu"):
        return Check(
            name="torchaudio",
            ok=False,
            detail=f"{version} is a CUDA build beside a CPU torch; Transformers cannot be imported",
            mend=f"{sys.executable} -m pip uninstall -y torchaudio torchcodec",
        )
    return Check(name="torchaudio", ok=True, detail=version)


def _check_nvidia_packages() -> Check:
    names = sorted({d.metadata["Name"] for d in metadata.distributions() if d.metadata["Name"].startswith("nvidia-")})
    if names and _read_platform_or_none() is Platform.ROCM:
        return Check(
            name="nvidia packages",
            ok=False,
            detail=f"on a ROCm node: {', '.join(names)}",
            mend=f"{sys.executable} -m pip uninstall -y {' '.join(names)}",
        )
    return Check(name="nvidia packages", ok=True, detail=", ".join(names) or "none")


def _check_device() -> Check:
    kfd = Path("/dev/kfd")
    if not kfd.exists():
        if _read_platform_or_none() is Platform.ROCM:
            return Check(
                name="device",
                ok=False,
                detail="torch is built for HIP, and there is no /dev/kfd",
                mend="Start the container with --device /dev/kfd --device /dev/dri --group-add=video",
            )
        return Check(name="device", ok=True, detail="no AMD GPU: cases run on the CPU, and say what needs a device")
    if not os.access(kfd, os.R_OK | os.W_OK):
        return Check(
            name="device",
            ok=False,
            detail="/dev/kfd is there and may not be opened",
            mend="Join its groups: usermod -aG video,render $USER, then log in again",
        )
    return Check(name="device", ok=True, detail="/dev/kfd")


def _check_memory() -> Check:
    available = psutil.virtual_memory().available
    return Check(
        name="memory",
        ok=available >= _MEMORY_BYTES,
        detail=f"{available / 2**30:.1f} GiB available",
        mend="" if available >= _MEMORY_BYTES else f"Free at least {_MEMORY_BYTES / 2**30:.0f} GiB",
    )


def _check_cache() -> Check:
    cache = find_cache()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return Check(
            name="cache", ok=False, detail=f"{existing} cannot be written", mend="Set TRIAGE_CACHE to another folder"
        )
    return Check(
        name="cache",
        ok=free >= _CACHE_BYTES,
        detail=f"{free / 2**30:.1f} GiB free",
        mend="" if free >= _CACHE_BYTES else "Free space, or set TRIAGE_CACHE to a folder on another disk",
    )
