"""The versions that a report carries even where its notebook did not come to its end."""

from __future__ import annotations

from importlib import metadata

from triage.engine import versions


def read_versions() -> dict[str, str | None]:
    """Package to installed version, None where it is absent: the engine's, and papermill's. Imports none of them.

    >>> read_versions()["papermill"] == metadata.version("papermill")
    True
    """
    return versions.read_versions() | {"papermill": metadata.version("papermill")}
