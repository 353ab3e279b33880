"""Python, torch, vLLM and what must match them."""

from __future__ import annotations

import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from triage.doctor._check import Check
from triage.engine._names import find_missing_names
from triage.engine.environment import Platform, needs_torchvision_shim, read_platform, read_torch_build
from triage.engine.versions import KNOWN_VLLM, read_versions
from triage.errors import MissingDependencyError

# torchvision 0.N belongs to torch 2.(N - 15); both projects keep in step since torch 2.0.
_TORCHVISION_AHEAD = 15
_WHEELS_PYTHON = (3, 12)
_NO_VLLM = "make setup, or use the Python of a vLLM ROCm image"


def read_platform_or_none() -> Platform | None:
    try:
        return read_platform()
    except MissingDependencyError:
        return None


def check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if read_platform_or_none() is Platform.ROCM and sys.version_info[:2] != _WHEELS_PYTHON:
        return Check(
            name="python",
            ok=False,
            detail=f"{version}; vLLM's ROCm wheels exist for 3.12 only",
            mend="conda env create -f environment.yml",
        )
    return Check(name="python", ok=True, detail=version)


def check_torch() -> Check:
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


def check_vllm() -> Check:
    version = read_versions()["vllm"]
    if version is None or find_spec("vllm") is None:
        return Check(name="vllm", ok=False, detail="not installed", mend=_NO_VLLM)
    if not SpecifierSet(KNOWN_VLLM).contains(version, prereleases=True):
        return Check(
            name="vllm",
            ok=False,
            detail=f"{version} is not among the versions that triage knows ({KNOWN_VLLM})",
            mend="Run the cases all the same; one that finds a name moved says so. Then report it.",
        )
    return Check(name="vllm", ok=True, detail=version)


def check_torchvision() -> Check:
    if find_spec("torchvision") is None:
        return Check(
            name="torchvision",
            ok=False,
            detail="not installed; Qwen2.5-VL's video processor needs it",
            mend="pip install --no-deps torchvision, in the version that matches torch",
        )
    version = metadata.version("torchvision")
    if (wanted := _find_wanted_torchvision()) and not version.startswith(f"{wanted}."):
        return Check(
            name="torchvision",
            ok=False,
            detail=f"{version} beside torch {read_torch_build()['__version__']}, which goes with {wanted}",
            mend=f"{sys.executable} -m pip install --no-deps 'torchvision=={wanted}.*'",
        )
    if find_spec("torch") is not None and needs_torchvision_shim():
        return Check(
            name="torchvision", ok=True, detail=f"{version} for CUDA beside another torch; triage declares its schemas"
        )
    return Check(name="torchvision", ok=True, detail=version)


def _find_wanted_torchvision() -> str | None:
    """The torchvision of the installed torch, as ``0.28``; None for a torch that it cannot be told of."""
    try:
        release = Version(str(read_torch_build()["__version__"])).release
    except (MissingDependencyError, InvalidVersion):
        return None
    return f"0.{release[1] + _TORCHVISION_AHEAD}" if len(release) > 1 and release[0] == 2 else None


def check_adapters() -> Check:
    """The names of vLLM that triage looks up, in the files of the installed version; nothing is imported."""
    if find_spec("vllm") is None:
        return Check(name="vllm names", ok=False, detail="vLLM is not installed", mend=_NO_VLLM)
    missing = find_missing_names()
    return Check(
        name="vllm names",
        ok=not missing,
        detail=f"moved or gone: {', '.join(missing)}" if missing else "all are where triage looks for them",
        mend="Add their new homes to triage/engine/_names.py" if missing else "",
    )


def check_torchaudio() -> Check:
    """A CUDA build beside a CPU torch breaks ``import transformers``, and with it vLLM."""
    if find_spec("torchaudio") is None:
        return Check(name="torchaudio", ok=True, detail="not installed, not needed")
    version = metadata.version("torchaudio")
    if read_platform_or_none() is Platform.CPU and not version.endswith("+cpu"):
        return Check(
            name="torchaudio",
            ok=False,
            detail=f"{version} is a CUDA build beside a CPU torch; Transformers cannot be imported",
            mend=f"{sys.executable} -m pip uninstall -y torchaudio torchcodec",
        )
    return Check(name="torchaudio", ok=True, detail=version)


def check_nvidia_packages() -> Check:
    names = sorted({d.metadata["Name"] for d in metadata.distributions() if d.metadata["Name"].startswith("nvidia-")})
    if names and read_platform_or_none() is Platform.ROCM:
        return Check(
            name="nvidia packages",
            ok=False,
            detail=f"on a ROCm node: {', '.join(names)}",
            mend=f"{sys.executable} -m pip uninstall -y {' '.join(names)}",
        )
    return Check(name="nvidia packages", ok=True, detail=", ".join(names) or "none")
