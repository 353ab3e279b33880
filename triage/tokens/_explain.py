"""A difference in words: what changed in a stage, and which pieces of the model it touches."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from triage.tokens._attribute import Attribution
from triage.tokens._snapshots import Snapshot
from triage.tokens._stages import Stage, read_definition

_Parts: TypeAlias = Mapping[str, object]  # pieces or merges by name
_LONGEST = 5  # changes of one stage that are told; the rest is counted
_LONGEST_VALUE = 400  # characters of one value


def explain_stage(a: Snapshot, b: Snapshot, stage: Stage, *, texts: Sequence[str] = ()) -> tuple[str, ...]:
    """What differs between the two definitions of a stage, a line for each change.

    Of a model's vocabulary only the pieces are named that the texts are made of, with their ids and scores.

    >>> from pathlib import Path
    >>> from tokenizers import Tokenizer, models, normalizers
    >>> plain, lower = (Tokenizer(models.WordLevel({"a": 0}, unk_token="a")) for _ in range(2))
    >>> lower.normalizer = normalizers.Lowercase()
    >>> explain_stage(Snapshot("a", Path(), plain), Snapshot("b", Path(), lower), Stage.NORMALIZER)
    ('normalizer: nothing in a, {"type":"Lowercase"} in b',)
    """
    ours, theirs = (read_definition(snapshot)[stage] for snapshot in (a, b))
    totals: list[str] = []
    if stage is Stage.MODEL:
        used = {token for text in texts for s in (a, b) for token in s.tokenizer.encode(text).tokens}
        pieces, merges = (_read_pieces(ours), _read_pieces(theirs)), _read_merges(ours, theirs)
        making = {merge for side in merges for merge in side if merge.replace(" ", "") in used}
        totals = [*_total("Pieces", *pieces), *_total("Merges", *merges)]
        changes = [*_compare_parts("piece", pieces, used), *_compare_parts("merge", merges, making)]
        changes += _compare(stage, *map(_without_parts, (ours, theirs)))
    elif stage is Stage.ADDED_TOKENS:
        changes = list(_compare_added(ours, theirs))
    else:
        changes = list(_compare(stage, ours, theirs))
    lines = [f"{path}: {_show(x)} in {a.name}, {_show(y)} in {b.name}" for path, x, y in changes[:_LONGEST]]
    if len(changes) > _LONGEST:
        lines.append(f"{stage}: {len(changes) - _LONGEST} more changes")
    return (*lines, *totals)


def explain_attribution(a: Snapshot, b: Snapshot, attribution: Attribution) -> str:
    """The attribution as sentences, for a report or a terminal.

    >>> explain_attribution(*[None] * 2, Attribution(stages=(), witnesses=(), differing=(), encodings=0))
    'Both snapshots encode these texts alike.'
    """
    if attribution.stages is None:
        named = ", ".join(attribution.differing) or "no stage"
        return f"No set of stages explains the difference, although these differ: {named}."
    if not attribution.stages:
        others = ", ".join(attribution.differing)
        return "Both snapshots encode these texts alike" + (f", although they differ in {others}." if others else ".")
    stages = " and ".join(attribution.stages)
    shortest = min(attribution.witnesses, key=len)
    details = [line for stage in attribution.stages for line in explain_stage(a, b, stage, texts=attribution.witnesses)]
    return (
        f"Taking {stages} from {a.name} into {b.name} makes them agree; no smaller set of stages does. "
        f"The shortest text that still differs is {shortest!r}. " + ". ".join(details) + "."
    )


def _compare(path: str, ours: object, theirs: object) -> Iterator[tuple[str, object, object]]:
    """The innermost places where two JSON values differ."""
    if ours == theirs:
        return
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.get("type") == theirs.get("type"):
        for key in dict.fromkeys([*ours, *theirs]):
            yield from _compare(f"{path}.{key}", ours.get(key), theirs.get(key))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (x, y) in enumerate(zip(ours, theirs, strict=True)):
            yield from _compare(f"{path}[{index}]", x, y)
    else:
        yield path, ours, theirs


def _compare_added(ours: object, theirs: object) -> Iterator[tuple[str, object, object]]:
    tokens = [{t["content"]: t for t in side} if isinstance(side, list) else {} for side in (ours, theirs)]
    for content in dict.fromkeys([*tokens[0], *tokens[1]]):
        yield from _compare(f"added_tokens {content!r}", tokens[0].get(content), tokens[1].get(content))


def _compare_parts(kind: str, sides: tuple[_Parts, _Parts], used: Collection[str]) -> list[tuple[str, object, object]]:
    """The pieces that the texts are made of, or the merges that make them, where the two sides differ."""
    ours, theirs = sides
    parts = [part for part in sorted(used) if ours.get(part) != theirs.get(part)]
    return [(f"model {kind} {part!r}", ours.get(part), theirs.get(part)) for part in parts]


def _total(kind: str, ours: _Parts, theirs: _Parts) -> Iterator[str]:
    apart = sum(ours.get(part) != theirs.get(part) for part in ours.keys() | theirs.keys())
    if apart:
        yield f"{kind} of the model that differ: {apart}, of {len(ours)} and {len(theirs)}"


def _read_pieces(model: Any) -> _Parts:
    """Each piece with its id, and its score where the model has scores (Unigram)."""
    vocabulary = model.get("vocab") or {}
    if isinstance(vocabulary, list):
        return {piece: {"id": index, "score": score} for index, (piece, score) in enumerate(vocabulary)}
    return {piece: {"id": index} for piece, index in vocabulary.items()}


def _read_merges(*models: Any) -> tuple[_Parts, _Parts]:
    """Each merge (BPE) with its rank: the lower is tried first. Ranks that only new merges shift are left out."""
    sides = [[" ".join(merge) for merge in model.get("merges") or ()] for model in models]
    ours, theirs = ({merge: rank for rank, merge in enumerate(side)} for side in sides)
    shifted = [merge for merge in ours if merge in theirs] == [merge for merge in theirs if merge in ours]
    ranked = [
        {m: {} if shifted and m in ours and m in theirs else {"rank": r} for m, r in s.items()} for s in (ours, theirs)
    ]
    return ranked[0], ranked[1]


def _without_parts(model: Any) -> dict[str, object]:
    return {key: value for key, value in model.items() if key not in {"vocab", "merges"}}


def _show(value: object) -> str:
    """A value as JSON, clipped: the map of a `Precompiled` normalizer alone has 300,000 characters."""
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text):,} characters)"
