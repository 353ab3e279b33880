"""Two causes apart: what a tokenizer snapshot counts, and what the server counts beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import pandas as pd

from triage.engine.server import Server
from triage.errors import InputError
from triage.tokens._snapshots import Snapshot


class DriftCause(StrEnum):
    """What moved between two sets of counts."""

    NOTHING = "nothing"
    SNAPSHOT = "the snapshot"
    ACCOUNTING = "the server's accounting"
    BOTH = "both, the snapshot and the server's accounting"


def separate_causes(
    before: Mapping[str, int],
    after: Mapping[str, int],
    *,
    predicted_before: Mapping[str, int],
    predicted_after: Mapping[str, int],
) -> DriftCause:
    """Whether counts differ because of the tokenizers, the server's accounting, or both.

    Each argument maps a request to a count. The tokenizers' part is what they predict alone; the rest of the drift is
    the server's. Two parts that cancel out in a request are still seen, as both.

    >>> print(separate_causes({"r": 286}, {"r": 284}, predicted_before={"r": 285}, predicted_after={"r": 284}))
    both, the snapshot and the server's accounting
    """
    if len({frozenset(counts) for counts in (before, after, predicted_before, predicted_after)}) > 1:
        raise InputError("The counts are not of the same requests.", hint="Measure and predict the same requests.")
    snapshot = {r: predicted_after[r] - predicted_before[r] for r in before}
    accounting = {r: after[r] - before[r] - snapshot[r] for r in before}
    match any(snapshot.values()), any(accounting.values()):
        case False, False:
            return DriftCause.NOTHING
        case True, False:
            return DriftCause.SNAPSHOT
        case False, True:
            return DriftCause.ACCOUNTING
        case _:
            return DriftCause.BOTH


def fit_accounting(predicted: Mapping[str, int], allowed: Sequence[Sequence[int]]) -> int | None:
    """The number of tokens that a server must count beside the tokenizer's in every request to meet an expectation.

    The nearest to zero where several do, None where none does: the expectation was not made with this snapshot.

    >>> fit_accounting({"none": 285, "query cut": 155}, [[286], [156]])
    1
    >>> fit_accounting({"none": 284, "query cut": 155}, [[286], [156]]) is None
    True
    """
    pairs = list(zip(predicted.values(), allowed, strict=True))
    candidates = sorted({value - pairs[0][0] for value in pairs[0][1]}, key=lambda extra: (abs(extra), extra))
    return next((extra for extra in candidates if all(count + extra in values for count, values in pairs)), None)


def tabulate_accounting(
    history: Sequence[Mapping[str, Any]],
    predicted: Mapping[str, Mapping[str, int]],
    served: Mapping[str, Mapping[str, int]],
    *,
    version: str | None,
) -> pd.DataFrame:
    """What each vLLM must count beside each tokenizer: one row for each expectation of upstream, and what runs here."""
    rows: dict[str, dict[str, str]] = {
        f"upstream's test since vLLM {entry['since']}": {
            name: _show(fit_accounting(counts, entry["values"])) for name, counts in predicted.items()
        }
        for entry in history
    }
    rows[f"served here by vLLM {version}"] = {
        name: _show(fit_accounting(counts, [[served[name][request]] for request in counts]))
        for name, counts in predicted.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def measure_texts(server: Server, snapshot: Snapshot, texts: Mapping[str, str]) -> pd.DataFrame:
    """Each text by itself: the tokenizer alone, ``/tokenize``, and ``usage.prompt_tokens`` of ``/v1/embeddings``."""
    rows = {
        f"{name}, {snapshot.name}": {
            "tokenizer alone": snapshot.count(text),
            "/tokenize": len(server.tokenize(text)),
            "/v1/embeddings": server.embed([text]).prompt_tokens,
        }
        for name, text in texts.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _show(extra: int | None) -> str:
    if extra is None:
        return "does not fit this snapshot"
    return "nothing" if extra == 0 else f"{extra:+d} in every request"
