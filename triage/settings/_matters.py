"""What is known to make one box pass and another fail, from ``matters.toml``: the order of differences."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).with_name("matters.toml")
_UNKNOWN = (30, "not known to matter")


@cache
def _read_matters() -> dict[str, list[tuple[re.Pattern[str], int, str]]]:
    with _TABLE.open("rb") as file:
        table = tomllib.load(file)
    return {
        section: [(re.compile("|".join(row["names"]), re.IGNORECASE), row["weight"], row["why"]) for row in rows]
        for section, rows in table.items()
    }


def rate_difference(section: str, name: str) -> tuple[int, str]:
    """How much a difference is known to matter, from 0 to 100, and why.

    >>> rate_difference("variables", "VLLM_ROCM_USE_SKINNY_GEMM")
    (92, 'chooses kernels and paths of vLLM')
    """
    for pattern, weight, why in _read_matters().get(section, ()):
        if pattern.fullmatch(name):
            return weight, why
    return _UNKNOWN
