"""Which text carries a drift, from the counts alone: no tokenizer, only what a CI log shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from math import inf, prod
from typing import TypeAlias

import numpy as np
import pandas as pd

from triage.errors import InputError

OVERHEAD = "special tokens"  # what a request counts besides its texts, the same in each; it may drift as well
_MOST_CASES = 10_000  # each takes a tenth of a millisecond

Limits: TypeAlias = Mapping[str, Mapping[str, int | None]]
_Range: TypeAlias = tuple[float, float]  # of pieces, both ends included
_Lengths: TypeAlias = dict[str, int | None]  # None: the counts leave it open


class Role(StrEnum):
    """What the counts say of one text."""

    CARRIES = "carries"  # every solution gives it a drift
    CANNOT = "cannot carry"  # every solution gives it none
    UNDECIDED = "undecided"  # some do, some do not


@dataclass(frozen=True, kw_only=True)
class SegmentDrift:
    """One text, or the special tokens: how many pieces it has before and after, None where the counts do not fix it."""

    name: str
    role: Role
    before: int | None
    after: int | None

    @property
    def drift(self) -> int | None:
        """How many pieces it has more before than after."""
        return None if self.before is None or self.after is None else self.before - self.after


def tabulate_segments(parts: Sequence[SegmentDrift]) -> pd.DataFrame:
    """One row for each text and for the special tokens."""
    rows = {
        part.name: {
            "says": str(part.role),
            **{
                name: "open" if value is None else value
                for name, value in (("pieces before", part.before), ("after", part.after), ("drift", part.drift))
            },
        }
        for part in parts
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def locate_drift(before: Mapping[str, int], after: Mapping[str, int], *, limits: Limits) -> tuple[SegmentDrift, ...]:
    """What two sets of counts of the same requests say of each text.

    ``limits`` maps a request to the texts that it sends, each with the limit to which it is cut, None for none. A text
    counts its pieces, at most as many as its limit, and each request the same special tokens besides. So each request
    is one equation; whether a limit cut anything is not given, both are tried. A text is decided where all solutions
    agree.

    Raises `InputError` where there is none: another limit, or more than one server.

    >>> four = {"none": {"q": None, "d": None}, "q cut": {"q": 10, "d": None}}
    >>> four |= {"d cut": {"q": None, "d": 10}, "both cut": {"q": 10, "d": 10}}
    >>> counts = [dict(zip(four, row)) for row in ((286, 156, 155, 25), (284, 154, 154, 24))]
    >>> [f"{part.name}: {part.role} {part.drift}" for part in locate_drift(*counts, limits=four)]
    ['q: cannot carry 0', 'd: carries 1', 'special tokens: carries 1']
    >>> [str(part.role) for part in locate_drift({"none": 286}, {"none": 285}, limits=four)]
    ['undecided', 'undecided', 'undecided']
    """
    if before.keys() != after.keys():
        raise InputError("The counts are not of the same requests.", hint="Give both counts of each request.")
    if missing := [request for request in before if request not in limits]:
        raise InputError(f"Nothing says which texts {', '.join(missing)} sends.", hint="Name them in `limits`.")
    sides = [list(_solve(counts, limits)) for counts in (before, after)]
    for counts, solutions in zip((before, after), sides, strict=True):
        if not solutions:
            raise InputError(
                f"No lengths of the texts give the counts {', '.join(map(str, counts.values()))}.",
                hint="Check the limits, and that one server gave all counts.",
            )
    names = [*dict.fromkeys(text for request in before for text in limits[request]), OVERHEAD]
    return tuple(_judge(name, *([lengths[name] for lengths in solutions] for solutions in sides)) for name in names)


def explain_segments(parts: Sequence[SegmentDrift]) -> str:
    """What the counts say, as sentences; that which carries the drift comes first.

    >>> counts = {"none": 286}, {"none": 285}
    >>> print(explain_segments(locate_drift(*counts, limits={"none": {"query": None}})))
    These counts do not decide between query, special tokens.
    """
    told = []
    for part in (part for part in parts if part.role is Role.CARRIES):
        lengths = f": {part.before} before, {part.after} after" if part.drift else ", by how much is open"
        told.append(f"The drift is in the {part.name}{lengths}.")
    if cleared := [part.name for part in parts if part.role is Role.CANNOT]:
        told.append(f"It cannot be in the {' or the '.join(cleared)}.")
    if open_parts := [part.name for part in parts if part.role is Role.UNDECIDED]:
        told.append(f"These counts do not decide between {', '.join(open_parts)}.")
    if all(part.role is Role.CANNOT for part in parts):
        return "Nothing drifts: the counts are the same, and so is every text."
    return " ".join(told)


def _judge(name: str, before: Sequence[int | None], after: Sequence[int | None]) -> SegmentDrift:
    """What all solutions of both sides have in common."""
    drifts = {None if x is None or y is None else x - y for x in before for y in after}
    if None in drifts or (0 in drifts and len(drifts) > 1):
        role = Role.UNDECIDED
    else:
        role = Role.CANNOT if drifts == {0} else Role.CARRIES
    ours, theirs = (values[0] if len(set(values)) == 1 else None for values in (before, after))
    return SegmentDrift(name=name, role=role, before=ours, after=theirs)


def _solve(counts: Mapping[str, int], limits: Limits) -> Iterator[_Lengths]:
    """All ways in which the texts can be longer or shorter than their limits, each with the lengths that it fixes."""
    texts = list(dict.fromkeys(text for request in counts for text in limits[request]))
    choices = [_list_ranges(text, [limits[request] for request in counts]) for text in texts]
    if prod(map(len, choices)) > _MOST_CASES:
        raise InputError("There are too many texts and limits to try all cases.", hint="Leave some requests out.")
    for ranges in product(*choices):
        lengths = _solve_within(counts, limits, dict(zip(texts, ranges, strict=True)))
        if lengths is not None:
            yield lengths


def _list_ranges(text: str, requests: Sequence[Mapping[str, int | None]]) -> list[_Range]:
    """The ranges of a text's length in which the same limits cut it."""
    bounds = sorted({limit for request in requests if (limit := request.get(text)) is not None})
    return list(zip([0, *(bound + 1 for bound in bounds)], [*bounds, inf], strict=True))


def _solve_within(counts: Mapping[str, int], limits: Limits, ranges: Mapping[str, _Range]) -> _Lengths | None:
    """The lengths where each text is within its range, so that each equation is linear. None without a solution."""
    names = [*ranges, OVERHEAD]
    rows, values = [], []
    for request, count in counts.items():
        whole = {t for t, limit in limits[request].items() if limit is None or ranges[t][1] <= limit}
        rows.append([name == OVERHEAD or name in whole for name in names])
        values.append(count - sum(limit or 0 for text, limit in limits[request].items() if text not in whole))
    equations = np.array(rows, float)
    solution, *_ = np.linalg.lstsq(equations, np.array(values, float), rcond=None)
    if not np.allclose(equations @ solution, values, atol=1e-6):
        return None
    free = _find_free(equations)
    fixed = {name: round(solution[i]) for i, name in enumerate(names) if not free[i]}
    for name, length in fixed.items():
        lowest, highest = ranges.get(name, (0, inf))
        if not lowest <= length <= highest or abs(solution[names.index(name)] - length) > 1e-6:
            return None
    return {name: fixed.get(name) for name in names}


def _find_free(equations: np.ndarray) -> list[bool]:
    """For each unknown, whether the equations leave it open: whether some null vector moves it."""
    _, singular, rows = np.linalg.svd(equations)
    rank = int((singular > 1e-9).sum())
    return [bool(moves) for moves in (np.abs(rows[rank:]) > 1e-9).any(axis=0)]
