"""What an expectation lets through: upstream's assertion, the tightest that covers the snapshots, and what it masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pandas as pd

from triage.tokens._regressions import Regression

ExpectedPromptTokens: TypeAlias = int | tuple[int, ...]
_VERDICTS = ("masked", "caught", "invisible")  # of a planted fault: the price of a wider expectation comes first


def assert_prompt_tokens(actual: int, expected: ExpectedPromptTokens) -> None:
    """Raises `AssertionError` unless the count is the expected one, or one of them.

    Upstream: ``assert_prompt_tokens`` of ``tests/models/language/pooling/test_max_tokens_per_doc.py``.

    >>> assert_prompt_tokens(285, (285, 286))
    >>> assert_prompt_tokens(287, (285, 286))
    Traceback (most recent call last):
    ...
    AssertionError: prompt_tokens is 287, expected 285 or 286
    """
    allowed = _list_allowed(expected)
    if actual not in allowed:
        raise AssertionError(f"prompt_tokens is {actual}, expected {' or '.join(map(str, allowed))}")


def choose_expectation(counts: Sequence[int]) -> ExpectedPromptTokens:
    """The tightest expectation that covers these counts: a number if they agree, else a tuple of just them.

    >>> choose_expectation([155, 154, 155]), choose_expectation([24, 24])
    ((154, 155), 24)
    """
    distinct = tuple(sorted(set(counts)))
    return distinct[0] if len(distinct) == 1 else distinct


def tabulate_masking(
    regressions: Mapping[str, Sequence[Regression]],
    *,
    served: Mapping[str, Mapping[str, int]],
    widened: Mapping[str, ExpectedPromptTokens],
) -> pd.DataFrame:
    """One row for each planted regression: what it counts with each snapshot, and how many requests catch it.

    ``regressions`` and the healthy counts ``served`` are by snapshot. The strict expectation of a snapshot are its own
    counts. ``verdict`` is ``masked`` where they catch a fault that the widened expectation lets through, with any of
    the snapshots; ``caught`` where the widened one catches it too, ``invisible`` where no count shows it at all.
    """
    rows: dict[str, dict[str, str]] = {}
    for name, planted in regressions.items():
        for fault in planted:
            strict, wide = (_list_catching(fault, expected) for expected in (served[name], widened))
            row = rows.setdefault(fault.name, {"verdict": "invisible"})
            if strict and not wide:
                row["verdict"] = "masked"
            elif strict and row["verdict"] == "invisible":
                row["verdict"] = "caught"
            row[f"{name} counts"] = "/".join(map(str, fault.counts.values()))
            row[f"{name} caught by"] = f"{len(strict)} strict, {len(wide)} widened"
    ordered = sorted(rows.items(), key=lambda row: _VERDICTS.index(row[1]["verdict"]))
    frame = pd.DataFrame.from_dict(dict(ordered), orient="index").fillna("")
    frame.index.name = "planted regression"
    return frame


def tabulate_strictness(
    regressions: Mapping[str, Sequence[Regression]],
    *,
    served: Mapping[str, Mapping[str, int]],
    widened: Mapping[str, ExpectedPromptTokens],
) -> pd.DataFrame:
    """One row for each request: whether it must stay strict, and the faults that nothing else would catch then.

    A request in which all snapshots agree gains nothing from a wider expectation. What such requests catch and the
    widened ones do not would be lost if they were widened as well.
    """
    strict = list_strict_requests(served)
    guarded: dict[str, dict[str, None]] = {request: {} for request in widened}
    for planted in regressions.values():
        for fault in planted:
            catching = _list_catching(fault, widened)
            for request in catching if set(catching) <= set(strict) else ():
                guarded[request][fault.name] = None
    rows = {
        request: {
            "expectation": " or ".join(map(str, _list_allowed(expected))),
            "must stay strict": "yes" if request in strict else "no: the snapshots differ",
            "caught by strict requests alone": "; ".join(guarded[request]) or "nothing",
        }
        for request, expected in widened.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def list_strict_requests(
    counts: Mapping[str, Mapping[str, int]],
) -> tuple[str, ...]:
    """The requests in which all snapshots agree: nothing is gained there by a wider expectation.

    >>> list_strict_requests({"a": {"whole": 285, "cut": 154}, "b": {"whole": 284, "cut": 154}})
    ('cut',)
    """
    first = next(iter(counts.values()))
    return tuple(r for r in first if len({by_request[r] for by_request in counts.values()}) == 1)


def _list_catching(fault: Regression, expectation: Mapping[str, ExpectedPromptTokens]) -> list[str]:
    """The requests whose count the expectation does not allow."""
    return [r for r, counted in fault.counts.items() if counted not in _list_allowed(expectation[r])]


def _list_allowed(expected: ExpectedPromptTokens) -> tuple[int, ...]:
    return (expected,) if isinstance(expected, int) else expected
