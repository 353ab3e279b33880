"""What upstream's test has expected over the versions of vLLM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from packaging.version import InvalidVersion, Version

from triage.tokens._rerank import Truncation


def select_history(
    history: Sequence[Mapping[str, Any]], *, asked: Mapping[str, Any], upstream: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """What upstream's test has expected, if these are its requests: of other texts and limits it says nothing.

    >>> history = [{"since": "0.20.0", "values": [[286]]}]
    >>> len(select_history(history, asked={"limit": 10}, upstream={"limit": 10, "query": "Who?"}))
    1
    >>> select_history(history, asked={"limit": 9}, upstream={"limit": 10, "query": "Who?"})
    []
    """
    return list(history) if all(upstream.get(name) == value for name, value in asked.items()) else []


def find_expectation(history: Sequence[Mapping[str, Any]], version: str | None) -> list[tuple[int, ...]] | None:
    """What upstream's test of this vLLM version expects, one tuple of allowed counts for each request.

    ``history`` is a case's ``expected_prompt_tokens``; the last entry whose ``since`` is not newer applies. None where
    the version is unknown or older than the test.

    >>> history = [{"since": "0.20.0", "values": [[286]]}, {"since": "0.22.0", "values": [[285, 286]]}]
    >>> find_expectation(history, "0.21.0")
    [(286,)]
    """
    try:
        wanted = Version(version or "")
    except InvalidVersion:
        return None
    known = [entry for entry in history if Version(entry["since"]).release <= wanted.release]
    return [tuple(values) for values in known[-1]["values"]] if known else None


def tabulate_history(history: Sequence[Mapping[str, Any]], truncations: Sequence[Truncation]) -> pd.DataFrame:
    """What upstream has expected, one row for each version in which the expectation changed."""
    rows = {
        f"since vLLM {entry['since']}": [" or ".join(map(str, allowed)) for allowed in entry["values"]]
        for entry in history
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=[t.name for t in truncations])
