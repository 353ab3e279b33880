"""What an engine process needs around it, on this machine: the platform, its variables, a matching torchvision."""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from triage.errors import MissingDependencyError

_SHIM = Path(__file__).with_name("shim")


class Platform(StrEnum):
    """What the installed torch was built for."""

    CPU = "cpu"
    ROCM = "rocm"
    CUDA = "cuda"


def _read_version_file(package: str) -> dict[str, Any]:
    """The names of ``package/version.py``, without importing the package; empty where it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return {}
    return runpy.run_path(str(Path(spec.origin).with_name("version.py")))


@cache
def read_torch_build() -> dict[str, str | None]:
    """torch's version and the HIP or CUDA it was built for, read without importing it (which takes seconds).

    Raises `MissingDependencyError` where torch is not installed.
    """
    names = _read_version_file("torch")
    if not names:
        raise MissingDependencyError(
            "torch is not installed.",
            hint="On this machine run `make setup`; on a ROCm node use the Python of the vLLM image.",
        )
    return {key: names.get(key) for key in ("__version__", "hip", "cuda")}


def read_platform() -> Platform:
    """The platform that the installed torch was built for. HIP presents itself as CUDA at run time, not here.

    >>> read_platform() in set(Platform)
    True
    """
    build = read_torch_build()
    if build["hip"]:
        return Platform.ROCM
    return Platform.CUDA if build["cuda"] else Platform.CPU


@cache
def needs_torchvision_shim() -> bool:
    """Whether a CUDA build of torchvision stands beside a torch that is built for something else."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    return "+cu" in text and read_platform() is not Platform.CUDA


@cache
def _load_shim() -> ModuleType:
    path = _SHIM / "sitecustomize.py"
    running = sys.modules.get("sitecustomize")
    if running is not None and running.__file__ and Path(running.__file__) == path:
        return running  # an engine process: a second hook would declare the schemas twice
    spec = importlib.util.spec_from_file_location("triage_torchvision_shim", path)
    if spec is None or spec.loader is None:
        raise MissingDependencyError(f"{_SHIM} is not whole.", hint="Install triage again.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prepare_import() -> None:
    """Makes ``import vllm`` possible in this process; call it before the first import of vLLM or Transformers.

    Raises `MissingDependencyError` where vLLM is not installed.
    """
    if importlib.util.find_spec("vllm") is None:
        raise MissingDependencyError(
            "vLLM is not installed in this Python.",
            hint="On a machine without a GPU run `make setup`; on a ROCm node use the Python of the vLLM image.",
        )
    if needs_torchvision_shim():
        _load_shim().install()


def engine_environment(overrides: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of an engine process: this one's, what the platform needs, then ``overrides``.

    A variable that is already set is left alone.

    >>> engine_environment({"VLLM_ROCM_USE_SKINNY_GEMM": "0"})["VLLM_ROCM_USE_SKINNY_GEMM"]
    '0'
    """
    env = dict(os.environ)
    env.setdefault("VLLM_NO_USAGE_STATS", "1")
    env.setdefault("VLLM_LOGGING_COLOR", "0")  # a Jupyter kernel sets FORCE_COLOR, and these logs are read, not watched
    if read_platform() is Platform.CPU:
        env.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; the default is a share of all memory
    if needs_torchvision_shim():
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_SHIM), env.get("PYTHONPATH")]))
    return env | dict(overrides or {})
