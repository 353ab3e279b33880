"""Faults planted on purpose, and the counts that they make: what a test of truncation is there to catch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from triage.tokens._rerank import Truncation, predict_rerank
from triage.tokens._snapshots import Snapshot
from triage.tokens._stages import Stage, change_stage, read_definition
from triage.tokens._trial_child import flatten


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A fault planted on purpose: what it is, and the counts that it makes of the requests."""

    name: str
    counts: Mapping[str, int]


def plant_regressions(
    snapshot: Snapshot, *, query: str, document: str, truncations: Sequence[Truncation], served: Mapping[str, int]
) -> tuple[Regression, ...]:
    """Counts of the requests under faults of the tokenizer, the texts, the limits, and the server's accounting.

    Each is really done: the tokenizer, a text or a limit is changed and the texts are encoded again. What only a server
    can do is done to its counts. ``served`` are the healthy ones; what the server counts beyond the tokenizer is kept.
    """
    healthy = predict_rerank(snapshot, query=query, document=document, truncations=truncations)
    counts = {
        **_break_tokenizer(snapshot, query=query, document=document, truncations=truncations),
        **_break_requests(snapshot, query=query, document=document, truncations=truncations),
        "one special token fewer in each request": {name: count - 1 for name, count in healthy.items()},
        "one special token more in each request": {name: count + 1 for name, count in healthy.items()},
        "one piece of the document lost": _shift_whole_document(healthy, truncations, -1),
        "one piece of the document doubled": _shift_whole_document(healthy, truncations, +1),
    }
    return tuple(
        Regression(name=name, counts={r: served[r] + counted[r] - healthy[r] for r in healthy})
        for name, counted in counts.items()
    )


def _break_tokenizer(snapshot: Snapshot, **requests: Any) -> dict[str, dict[str, int]]:
    """Faults of the tokenizer. What it does not have can be skipped without a trace; the name says so."""
    definition = read_definition(snapshot)
    specials = definition[Stage.POST_PROCESSOR]
    changes = {
        "a special token of each text lost": (Stage.POST_PROCESSOR, _change_specials(specials, times=0)),
        "the separator of each text doubled": (Stage.POST_PROCESSOR, _change_specials(specials, times=2)),
        "normalisation skipped": (Stage.NORMALIZER, None),
        "pre-tokenisation skipped": (Stage.PRE_TOKENIZER, None),
    }
    return {
        name + (" (there is none)" if changed == definition[stage] else ""): predict_rerank(
            change_stage(snapshot, stage, changed), **requests
        )
        for name, (stage, changed) in changes.items()
    }


def _change_specials(processor: Any, *, times: int) -> Any:
    """A post-processor whose last special token comes as many times; one that adds none, as it is."""
    for step in flatten(processor, "processors"):
        template = step
        if step["type"] in {"BertProcessing", "RobertaProcessing"}:
            ends = (step["cls"], step["sep"])
            first, last = ({"SpecialToken": {"id": name, "type_id": 0}} for name, _ in ends)
            template = {
                "single": [first, {"Sequence": {"id": "A", "type_id": 0}}, last],
                "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in ends},
            }
        places = [i for i, part in enumerate(template.get("single", ())) if "SpecialToken" in part]
        if places:
            single = list(template["single"])
            single[places[-1] : places[-1] + 1] *= times
            return {"type": "TemplateProcessing", **template, "single": single, "pair": single}
    return processor


def _break_requests(
    snapshot: Snapshot, *, query: str, document: str, truncations: Sequence[Truncation]
) -> dict[str, dict[str, int]]:
    """Faults of the texts that are sent, and of the limits to which they are cut."""

    def count(cut: Sequence[Truncation], q: str = query, d: str = document) -> dict[str, int]:
        return predict_rerank(snapshot, query=q, document=d, truncations=cut)

    def shift(by: int) -> list[Truncation]:
        return [_map_limits(t, lambda limit: None if limit is None else limit + by) for t in truncations]

    swapped = [
        replace(t, max_tokens_per_query=t.max_tokens_per_doc, max_tokens_per_doc=t.max_tokens_per_query)
        for t in truncations
    ]
    return {
        "every limit one too high": count(shift(+1)),
        "every limit one too low": count(shift(-1)),
        "limits ignored": count([_map_limits(t, lambda _: None) for t in truncations]),
        "the query's limit ignored": count([replace(t, max_tokens_per_query=None) for t in truncations]),
        "the document's limit ignored": count([replace(t, max_tokens_per_doc=None) for t in truncations]),
        "the two limits exchanged": count(swapped),
        "texts cut on the wrong side": predict_rerank(
            snapshot, query=query, document=document, truncations=truncations, side="left"
        ),
        "texts stripped before they are encoded": count(truncations, query.strip(), document.strip()),
        "the document sent as the query": count(truncations, document, document),
    }


def _map_limits(truncation: Truncation, change: Callable[[int | None], int | None]) -> Truncation:
    return replace(
        truncation,
        max_tokens_per_query=change(truncation.max_tokens_per_query),
        max_tokens_per_doc=change(truncation.max_tokens_per_doc),
    )


def _shift_whole_document(healthy: Mapping[str, int], truncations: Sequence[Truncation], by: int) -> dict[str, int]:
    return {t.name: healthy[t.name] + (by if t.max_tokens_per_doc is None else 0) for t in truncations}
