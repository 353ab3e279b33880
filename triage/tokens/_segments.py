"""Which text carries a drift, from the counts alone: no tokenizer, only what a CI log shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from triage.errors import InputError

OVERHEAD = "special tokens"  # what a request counts besides its texts; it may drift as well


class Role(StrEnum):
    """What the counts say of one text."""

    CARRIES = "carries"  # every solution gives it a drift
    CANNOT = "cannot carry"  # every solution gives it none
    UNDECIDED = "undecided"  # some do, some do not


@dataclass(frozen=True, kw_only=True)
class SegmentDrift:
    """One text, or the special tokens. ``drift`` is None where the counts do not fix it."""

    name: str
    role: Role
    drift: int | None


def tabulate_segments(parts: Sequence[SegmentDrift]) -> pd.DataFrame:
    """One row for each text and for the special tokens."""
    rows = {
        part.name: {"says": str(part.role), "drift": "open" if part.drift is None else part.drift} for part in parts
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def locate_drift(drift: Mapping[str, int], *, whole: Mapping[str, Collection[str]]) -> tuple[SegmentDrift, ...]:
    """What a drift of counts says of each text.

    ``drift`` maps a request to the difference of its two counts; ``whole`` maps it to the texts that it sends uncut. A
    text that is cut to a limit below its length counts the same in both snapshots, so it contributes nothing. Each
    request is then one linear equation in the drifts of its whole texts and of the special tokens, and a text is
    decided where all solutions agree.

    Raises `InputError` where no assignment fits: a limit that cut nothing, or more than one server.

    >>> four = {"none": 1, "query cut": 1, "document cut": 0, "both cut": 0}
    >>> whole = {"none": ["query", "document"], "query cut": ["document"], "document cut": ["query"], "both cut": []}
    >>> [f"{part.name}: {part.role}" for part in locate_drift(four, whole=whole)]
    ['query: cannot carry', 'document: carries', 'special tokens: cannot carry']
    >>> [str(part.role) for part in locate_drift({"none": 1}, whole=whole)]
    ['undecided', 'undecided', 'undecided']
    """
    if missing := [request for request in drift if request not in whole]:
        raise InputError(f"Nothing says which texts {', '.join(missing)} sends whole.", hint="Name them in `whole`.")
    names = [*dict.fromkeys(text for request in drift for text in whole[request]), OVERHEAD]
    equations = np.array([[name == OVERHEAD or name in whole[request] for name in names] for request in drift], float)
    values = np.array([drift[request] for request in drift], float)
    solution, *_ = np.linalg.lstsq(equations, values, rcond=None)
    if not np.allclose(equations @ solution, values, atol=1e-6):
        raise InputError(
            "No drift of the texts gives these counts.",
            hint="Check that every limit is below the length of its text, and that one server gave all counts.",
        )
    free = _find_free(equations)
    return tuple(_judge(name, None if free[i] else round(solution[i])) for i, name in enumerate(names))


def _find_free(equations: np.ndarray) -> list[bool]:
    """For each unknown, whether the equations leave it open: whether some null vector moves it."""
    _, singular, rows = np.linalg.svd(equations)
    rank = int((singular > 1e-9).sum())
    return [bool(moves) for moves in (np.abs(rows[rank:]) > 1e-9).any(axis=0)]


def _judge(name: str, drift: int | None) -> SegmentDrift:
    role = Role.UNDECIDED if drift is None else Role.CARRIES if drift else Role.CANNOT
    return SegmentDrift(name=name, role=role, drift=drift)
