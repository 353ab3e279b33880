"""What an expectation lets through: upstream's assertion, the tightest that covers the snapshots, and what it masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import pandas as pd

from triage.tokens._rerank import Truncation, predict_rerank
from triage.tokens._snapshots import Snapshot
from triage.tokens._stages import Stage, drop_stage

ExpectedPromptTokens: TypeAlias = int | tuple[int, ...]


def assert_prompt_tokens(actual: int, expected: ExpectedPromptTokens) -> None:
    """Raises `AssertionError` unless the count is the expected one, or one of them.

    Upstream: ``assert_prompt_tokens`` of ``tests/models/language/pooling/test_max_tokens_per_doc.py``.

    >>> assert_prompt_tokens(285, (285, 286))
    >>> assert_prompt_tokens(287, (285, 286))
    Traceback (most recent call last):
    ...
    AssertionError: prompt_tokens is 287, expected 285 or 286
    """
    allowed = (expected,) if isinstance(expected, int) else expected
    if actual not in allowed:
        raise AssertionError(f"prompt_tokens is {actual}, expected {' or '.join(map(str, allowed))}")


def choose_expectation(counts: Sequence[int]) -> ExpectedPromptTokens:
    """The tightest expectation that covers these counts: a number if they agree, else a tuple of just them.

    >>> choose_expectation([155, 154, 155]), choose_expectation([24, 24])
    ((154, 155), 24)
    """
    distinct = tuple(sorted(set(counts)))
    return distinct[0] if len(distinct) == 1 else distinct


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A fault planted on purpose: what it is, and the counts that it makes of the requests."""

    name: str
    counts: Mapping[str, int]


def plant_regressions(
    snapshot: Snapshot, *, query: str, document: str, truncations: Sequence[Truncation], served: Mapping[str, int]
) -> tuple[Regression, ...]:
    """Counts of the requests under faults that a test of truncation is there to catch.

    A fault of the tokenizer, the texts or the limits is really done to them, and the texts are encoded again; a fault
    of the server's accounting shifts its counts. ``served`` are the healthy counts; what the server counts beyond the
    tokenizer is kept.
    """
    healthy = predict_rerank(snapshot, query=query, document=document, truncations=truncations)

    def count(s: Snapshot, cut: Sequence[Truncation], q: str = query, d: str = document) -> dict[str, int]:
        return predict_rerank(s, query=q, document=d, truncations=cut)

    def shift(by: int) -> list[Truncation]:
        return [_map_limits(t, lambda limit: None if limit is None else limit + by) for t in truncations]

    swapped = [
        replace(t, max_tokens_per_query=t.max_tokens_per_doc, max_tokens_per_doc=t.max_tokens_per_query)
        for t in truncations
    ]
    faults: dict[str, dict[str, int]] = {
        "a special token of each text lost": {name: counted - 2 for name, counted in healthy.items()},
        "the separator doubled": {name: counted + 1 for name, counted in healthy.items()},
        "every limit one too high": count(snapshot, shift(+1)),
        "every limit one too low": count(snapshot, shift(-1)),
        "limits ignored": count(snapshot, [_map_limits(t, lambda _: None) for t in truncations]),
        "the query's limit ignored": count(snapshot, [replace(t, max_tokens_per_query=None) for t in truncations]),
        "the document's limit ignored": count(snapshot, [replace(t, max_tokens_per_doc=None) for t in truncations]),
        "the two limits exchanged": count(snapshot, swapped),
        "one piece of the document lost": _shift_whole_document(healthy, truncations, -1),
        "one piece of the document doubled": _shift_whole_document(healthy, truncations, +1),
        "texts stripped before they are encoded": count(snapshot, truncations, query.strip(), document.strip()),
        "the document sent as the query": count(snapshot, truncations, document, document),
        "texts cut on the wrong side": healthy,
        "normalisation skipped": count(drop_stage(snapshot, Stage.NORMALIZER), truncations),
        "pre-tokenisation skipped": count(drop_stage(snapshot, Stage.PRE_TOKENIZER), truncations),
    }
    return tuple(
        Regression(name=name, counts={r: served[r] + counts[r] - healthy[r] for r in healthy})
        for name, counts in faults.items()
    )


def tabulate_masking(
    regressions: Sequence[Regression],
    *,
    strict: Mapping[str, ExpectedPromptTokens],
    widened: Mapping[str, ExpectedPromptTokens],
) -> pd.DataFrame:
    """One row for each planted regression: its counts, and in how many requests each expectation catches it.

    ``verdict`` is ``masked`` where the strict expectation catches it and the widened one lets it through, ``invisible``
    where no count shows it at all.
    """
    rows = {}
    for regression in regressions:
        caught = {
            name: [r for r, counted in regression.counts.items() if not _allows(expectation[r], counted)]
            for name, expectation in (("strict", strict), ("widened", widened))
        }
        verdict = "caught" if caught["widened"] else "masked" if caught["strict"] else "invisible"
        rows[regression.name] = {
            "verdict": verdict,
            "counts": " / ".join(map(str, regression.counts.values())),
            **{f"{name} catches it in": f"{len(caught[name])} of {len(regression.counts)}" for name in caught},
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.name = "planted regression"
    return frame


def list_strict_requests(
    counts: Mapping[str, Mapping[str, int]],
) -> tuple[str, ...]:
    """The requests in which all snapshots agree: nothing is gained there by a wider expectation.

    >>> list_strict_requests({"a": {"whole": 285, "cut": 154}, "b": {"whole": 284, "cut": 154}})
    ('cut',)
    """
    first = next(iter(counts.values()))
    return tuple(r for r in first if len({by_request[r] for by_request in counts.values()}) == 1)


def _allows(expected: ExpectedPromptTokens, counted: int) -> bool:
    return counted in ((expected,) if isinstance(expected, int) else expected)


def _map_limits(truncation: Truncation, change: Callable[[int | None], int | None]) -> Truncation:
    return replace(
        truncation,
        max_tokens_per_query=change(truncation.max_tokens_per_query),
        max_tokens_per_doc=change(truncation.max_tokens_per_doc),
    )


def _shift_whole_document(healthy: Mapping[str, int], truncations: Sequence[Truncation], by: int) -> dict[str, int]:
    return {t.name: healthy[t.name] + (by if t.max_tokens_per_doc is None else 0) for t in truncations}
