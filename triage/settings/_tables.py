"""A capture as a table of a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triage.settings._matters import rate_difference
from triage.settings._record import EnvironmentCapture

if TYPE_CHECKING:
    import pandas as pd

_COMPUTES = 50
_SHOWN = 6


def tabulate_capture(capture: EnvironmentCapture) -> pd.DataFrame:
    """What of a capture is most likely to matter: one row for each section, with the names that tell most."""
    import pandas as pd

    return pd.DataFrame(_list_rows(capture), columns=["part", "recorded", "most likely to matter"])


def _list_rows(capture: EnvironmentCapture) -> Iterator[tuple[str, int, str]]:
    for group, names in capture.variable_groups.items():
        told = [f"{name}={capture.variables[name]}" for name in names if _tells("variables", name)]
        yield f"variables ({group})", len(names), _join(told)
    changed = [name for name, row in capture.vllm_variables.items() if row.is_set]
    yield "variables that vLLM knows", len(capture.vllm_variables), f"set: {_join(changed)}"
    packages = [f"{name} {version}" for name, version in capture.packages.items() if _tells("packages", name)]
    yield "packages", len(capture.packages), _join(packages)
    libraries = [
        f"{name}{f' {held.version}' if held.version else ''} ({(held.build_id or 'no build id')[:8]})"
        for name, held in capture.libraries.items()
        if _tells("libraries", name)
    ]
    yield "mapped libraries", len(capture.libraries), _join(libraries)
    gpus = [f"{gpu.name or 'GPU'} {gpu.arch or ''}".strip() for gpu in capture.gpu.gpus]
    yield "GPUs", len(gpus), _join([*gpus, *filter(None, [capture.gpu.driver])])
    yield "models in the Hub cache", len(capture.hub), _join(list(capture.hub))
    if capture.not_collected:
        reasons = [f"{part.what}: {part.why}" for part in capture.not_collected]
        yield "not collected", len(reasons), "; ".join(reasons)


def _tells(section: str, name: str) -> bool:
    return rate_difference(section, name)[0] >= _COMPUTES


def _join(words: list[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more if words else "none"
