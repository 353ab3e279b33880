"""The verdict on a drift of token counts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from triage.engine.versions import read_versions
from triage.result import Evidence, Family, Result, Verdict
from triage.tokens._attribute import Attribution
from triage.tokens._causes import DriftCause, separate_causes
from triage.tokens._compare import TextComparison, describe_place


def classify_token_counts(
    *,
    case: str,
    served: Mapping[str, Mapping[str, int]],
    predicted: Mapping[str, Mapping[str, int]],
    comparisons: Mapping[str, TextComparison],
    expected: Sequence[tuple[int, ...]] | None = None,
    attribution: Attribution | None = None,
    masked: Iterable[str] | None = None,
) -> Result:
    """Whether two snapshots drift apart when served, and whether the tokenizers alone explain it.

    ``served`` and ``predicted`` map both snapshots to counts by request; ``comparisons`` map the texts' names to what
    `compare_snapshots` found, ``attribution`` names the stages that did it, and ``masked`` are the planted faults that
    an expectation widened to cover the drift lets through. `REPRODUCED` needs a served drift that equals the predicted
    one in every request; a drift the tokenizers do not explain, or a missing count, is `INCONCLUSIVE`.
    """
    verdict, cause = _judge(served, predicted, comparisons)
    hidden = None if masked is None else list(masked)
    evidence = [
        Evidence(
            statement=f"{request}: prompt_tokens served",
            observed=", ".join(f"{name} {counts.get(request, 'not measured')}" for name, counts in served.items()),
            expected=None if expected is None else f"upstream: {' or '.join(map(str, expected[index]))}",
        )
        for index, request in enumerate(_requests(served))
    ]
    evidence += [
        Evidence(
            statement=f"{name}: where the snapshots part",
            observed="nowhere" if comparison.first_divergence is None else describe_place(comparison),
        )
        for name, comparison in comparisons.items()
    ]
    stages = attribution.stages if attribution is not None else None
    if stages and attribution is not None:
        shortest = min(attribution.witnesses, key=len)
        evidence.append(
            Evidence(
                statement="the smallest set of tokenizer stages that explains it",
                observed=f"{' and '.join(stages)}; the shortest text that still differs is {shortest!r}",
            )
        )
        if verdict is Verdict.REPRODUCED:
            cause += f" The snapshots differ there in their {' and '.join(stages)}."
    if hidden is not None:
        evidence.append(
            Evidence(
                statement="planted faults that an expectation widened to cover the snapshots lets through",
                observed="; ".join(hidden) or "none",
            )
        )
    return Result(
        case=case,
        family=Family.TOKEN_COUNT,
        verdict=verdict,
        cause=cause,
        next_command=_name_next(case, verdict, list(served), attribution),
        evidence=tuple(evidence),
        findings={
            "served": {name: dict(counts) for name, counts in served.items()},
            "predicted": {name: dict(counts) for name, counts in predicted.items()},
            "stages": None if stages is None else [str(stage) for stage in stages],
            "masked": hidden,
            "expected": None if expected is None else [list(allowed) for allowed in expected],
        },
        versions=read_versions(),
    )


def _name_next(case: str, verdict: Verdict, names: Sequence[str], attribution: Attribution | None) -> str:
    """Where the drift was seen, every place of it on the shortest text that shows it; else the case once more."""
    again = ["triage", "run", case]
    if len(names) != 2:
        return shlex.join(again)
    witnesses = [] if attribution is None else [text for text in attribution.witnesses if text.isprintable()]
    if verdict is Verdict.REPRODUCED and witnesses:
        return shlex.join(["triage", "tokens", *names, "--text", min(witnesses, key=len), "--all"])
    given = [f"{name}={value}" for name, value in zip(("snapshot_a", "snapshot_b"), names, strict=True)]
    return shlex.join([*again, "-p", given[0], "-p", given[1]])


def _requests(served: Mapping[str, Mapping[str, int]]) -> list[str]:
    return list(dict.fromkeys(request for counts in served.values() for request in counts))


def _judge(
    served: Mapping[str, Mapping[str, int]],
    predicted: Mapping[str, Mapping[str, int]],
    comparisons: Mapping[str, TextComparison],
) -> tuple[Verdict, str]:
    requests = _requests(served)
    if len(served) != 2 or not requests or any(set(counts) != set(requests) for counts in served.values()):
        return Verdict.INCONCLUSIVE, "The served counts of both snapshots are needed for every request."
    a, b = served
    drift = {request: served[a][request] - served[b][request] for request in requests}
    if not any(drift.values()):
        apart = [name for name, comparison in comparisons.items() if comparison.first_divergence]
        tokens = f" Their tokens differ all the same, in the {' and the '.join(apart)}." if apart else ""
        alike = f"{a} and {b} are counted alike in all {len(requests)} requests."
        return Verdict.NOT_REPRODUCED, alike + tokens + _describe_hidden(predicted, a, b)
    if any(set(predicted.get(name, {})) != set(requests) for name in served):
        return Verdict.INCONCLUSIVE, "The served counts drift; without both tokenizers nothing says why."
    moved = separate_causes(served[b], served[a], predicted_before=predicted[b], predicted_after=predicted[a])
    if moved is not DriftCause.SNAPSHOT:
        request = next(r for r in requests if drift[r] != predicted[a][r] - predicted[b][r])
        return Verdict.INCONCLUSIVE, (
            f"What moved is {moved}: in the request with {request}, the served counts drift by {drift[request]:+d} and "
            f"the tokenizers alone by {predicted[a][request] - predicted[b][request]:+d}."
        )
    parting = {name: comparison for name, comparison in comparisons.items() if comparison.a_count != comparison.b_count}
    if not parting:
        return Verdict.INCONCLUSIVE, "The served counts drift; no compared text does, so nothing says where."
    carriers = "; ".join(_describe_carrier(name, parting[name], a, b) for name in parting)
    drifting = [request for request in requests if drift[request]]
    return Verdict.REPRODUCED, f"{carriers}. The count differs where that reaches the model: {', '.join(drifting)}."


def _describe_hidden(predicted: Mapping[str, Mapping[str, int]], a: str, b: str) -> str:
    """A drift of the tokenizers that the served counts do not show."""
    if a not in predicted or b not in predicted:
        return ""
    hidden = {
        r: predicted[a][r] - predicted[b].get(r, 0) for r in predicted[a] if predicted[a][r] != predicted[b].get(r)
    }
    told = ", ".join(f"{drift:+d} with {request}" for request, drift in hidden.items())
    return f" The tokenizers alone drift by {told}; the server's accounting evens that out." if hidden else ""


def _describe_carrier(name: str, comparison: TextComparison, a: str, b: str) -> str:
    place = comparison.first_divergence
    if place is None:  # the caller has filtered; said again for the types
        return ""
    tokens = {a: " ".join(place.a_tokens) or "no token", b: " ".join(place.b_tokens) or "no token"}
    kept = " and ".join(f"{text} in {snapshot}" for snapshot, text in tokens.items())
    return f"The {name}'s {describe_place(comparison).removeprefix('the ')} is {kept}"
