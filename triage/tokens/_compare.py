"""Where two snapshots part on a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tokenizers import Encoding

from triage.errors import InputError
from triage.tokens._align import Gap, Side, align, locate
from triage.tokens._snapshots import Snapshot, find_unknown_id

_COLUMNS = ["index_a", "index_b", "char_start", "char_end", "text", "a_tokens", "b_tokens", "before", "after"]
_BATCH_TEXTS = 2048
_BATCH_CHARACTERS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first stretch of tokens in which two snapshots differ.

    ``index`` counts tokens; ``char_start`` and ``char_end`` are code points of the original text, and ``text`` is what
    stands there. ``a_tokens`` or ``b_tokens`` is empty where that snapshot has no token for it.
    """

    index: int
    char_start: int
    char_end: int
    text: str
    a_tokens: tuple[str, ...]
    b_tokens: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TextComparison:
    """One text under two snapshots. Counts include special tokens."""

    text: str
    a_count: int
    b_count: int
    first_divergence: Divergence | None


def compare_snapshots(a: Snapshot, b: Snapshot, texts: Sequence[str]) -> tuple[TextComparison, ...]:
    """Each text under both snapshots, with the first place where they part.

    Raises `InputError` for a text that no tokenizer takes, and `SnapshotError` for one that a snapshot cannot encode.

    >>> from pathlib import Path
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> def snapshot(name, split):
    ...     tokenizer = Tokenizer(models.WordLevel({"ab": 0, "a": 1, "-": 2, "b": 3}, unk_token="-"))
    ...     tokenizer.pre_tokenizer = pre_tokenizers.Split("-", split)
    ...     return Snapshot(name, Path(), tokenizer)
    >>> comparison, = compare_snapshots(snapshot("keeps", "isolated"), snapshot("drops", "removed"), ["a-b"])
    >>> comparison.a_count, comparison.b_count, comparison.first_divergence.text
    (3, 2, '-')
    """
    comparisons: list[TextComparison] = []
    start = 0
    whole = False  # whether to ask for offsets at once, as is best where most texts differ
    for size in _plan_batches(texts):
        batch = list(texts[start : start + size])
        start += size
        found = _compare_whole(a, b, batch) if whole or size == 1 else _compare_fast(a, b, batch)
        whole = sum(comparison.first_divergence is not None for comparison in found) * 2 > size
        comparisons += found
    return tuple(comparisons)


def _plan_batches(texts: Sequence[str]) -> Iterator[int]:
    """Sizes of batches: large enough to keep all cores busy, small enough to hold their encodings in memory."""
    count = characters = 0
    for text in texts:
        if count and (count == _BATCH_TEXTS or characters + len(text) > _BATCH_CHARACTERS):
            yield count
            count = characters = 0
        count += 1
        characters += len(text)
    if count:
        yield count


def _compare_fast(a: Snapshot, b: Snapshot, texts: list[str]) -> list[TextComparison]:
    """Without offsets first, which is a third quicker; with them only where a text differs, or may differ."""
    pairs = [
        (ours.ids, theirs.ids)
        for ours, theirs in zip(a.encode_batch(texts, offsets=False), b.encode_batch(texts, offsets=False), strict=True)
    ]
    used = {number for ours, theirs in pairs if ours == theirs for number in ours}
    # One id can stand for two tokens: in two vocabularies, and in one for all unknown pieces (Unigram).
    doubtful = {n for n in used if a.tokenizer.id_to_token(n) != b.tokenizer.id_to_token(n)}
    doubtful |= {find_unknown_id(a), find_unknown_id(b)} & used
    same = [ours == theirs and doubtful.isdisjoint(ours) for ours, theirs in pairs]
    others = iter(_compare_whole(a, b, [text for text, equal in zip(texts, same, strict=True) if not equal]))
    return [
        TextComparison(text=text, a_count=len(ours), b_count=len(theirs), first_divergence=None)
        if equal
        else next(others)
        for text, (ours, theirs), equal in zip(texts, pairs, same, strict=True)
    ]


def _compare_whole(a: Snapshot, b: Snapshot, texts: list[str]) -> list[TextComparison]:
    encoded = zip(texts, a.encode_batch(texts), b.encode_batch(texts), strict=True)
    return [
        TextComparison(
            text=text, a_count=len(ours), b_count=len(theirs), first_divergence=find_divergence(text, ours, theirs)
        )
        for text, ours, theirs in encoded
    ]


def compare_named(a: Snapshot, b: Snapshot, texts: Mapping[str, str]) -> dict[str, TextComparison]:
    """`compare_snapshots` for texts that have names, such as a query and a document."""
    return dict(zip(texts, compare_snapshots(a, b, list(texts.values())), strict=True))


def list_divergences(a: Snapshot, b: Snapshot, text: str, *, context: int = 3) -> pd.DataFrame:
    """Every place where two snapshots part on a text, in order, one row for each. Linear in the text.

    ``index_a`` and ``index_b`` count tokens, ``char_start`` and ``char_end`` are code points of the text; ``before``
    and ``after`` are up to ``context`` tokens around the place on which both agree. Raises `InputError` for a text that
    no tokenizer takes, and `SnapshotError` for one that a snapshot cannot encode.

    >>> from pathlib import Path
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> def snapshot(name, split):
    ...     tokenizer = Tokenizer(models.WordLevel({"ab": 0, "a": 1, "-": 2, "b": 3}, unk_token="-"))
    ...     tokenizer.pre_tokenizer = pre_tokenizers.Split("-", split)
    ...     return Snapshot(name, Path(), tokenizer)
    >>> table = list_divergences(snapshot("keeps", "isolated"), snapshot("drops", "removed"), "a-b-a")
    >>> table[["char_start", "text", "before", "after"]].values.tolist()
    [[1, '-', ('a',), ('b',)], [3, '-', ('b',), ('a',)]]
    """
    ours, theirs = (Side.read(snapshot.encode(text)) for snapshot in (a, b))
    gaps = align(ours, theirs)
    spans = locate(ours, theirs, gaps, length=len(text))
    ends = [0, *(gap.a_end for gap in gaps)]
    begins = [*(gap.a_start for gap in gaps[1:]), len(ours.tokens)]
    rows = [
        _describe(text, ours, theirs, gap, span)
        | {
            "before": tuple(ours.tokens[max(end, gap.a_start - context) : gap.a_start]),
            "after": tuple(ours.tokens[gap.a_end : min(begin, gap.a_end + context)]),
        }
        for gap, span, end, begin in zip(gaps, spans, ends, begins, strict=False)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def find_divergence(text: str, a: Encoding, b: Encoding) -> Divergence | None:
    """The first place where two encodings of a text part, None where they are the same."""
    ours, theirs = Side.read(a), Side.read(b)
    gaps = align(ours, theirs)
    if not gaps:
        return None
    (span,) = locate(ours, theirs, gaps[:1], length=len(text))
    row = _describe(text, ours, theirs, gaps[0], span)
    del row["index_b"]  # the same as in A: up to here every token is
    return Divergence(index=row.pop("index_a"), **row)


def _describe(text: str, a: Side, b: Side, gap: Gap, span: tuple[int, int]) -> dict[str, Any]:
    char_start, char_end = span
    return {
        "index_a": gap.a_start,
        "index_b": gap.b_start,
        "char_start": char_start,
        "char_end": char_end,
        "text": text[char_start:char_end],
        "a_tokens": tuple(a.tokens[gap.a_start : gap.a_end]),
        "b_tokens": tuple(b.tokens[gap.b_start : gap.b_end]),
    }


def describe_place(comparison: TextComparison) -> str:
    """The diverging characters in words.

    >>> gap = Divergence(index=1, char_start=3, char_end=4, text=" ", a_tokens=("▁",), b_tokens=())
    >>> describe_place(TextComparison(text="end ", a_count=2, b_count=1, first_divergence=gap))
    'the trailing space (character 3)'
    """
    place = comparison.first_divergence
    if place is None:
        raise InputError("The snapshots agree on this text.", hint="Ask only where first_divergence is not None.")
    span = _name_span(place)
    if not place.text.strip() and place.text:
        where = {0: "leading", len(comparison.text) - len(place.text): "trailing"}.get(place.char_start, "inner")
        return f"the {where} {'space' if place.text == ' ' else 'white space ' + repr(place.text)} ({span})"
    return f"{place.text!r} ({span})"


def _name_span(place: Divergence) -> str:
    if place.char_end - place.char_start <= 1:
        return f"character {place.char_start}"
    return f"characters {place.char_start} to {place.char_end - 1}"


def tabulate_texts(comparisons: Mapping[str, TextComparison]) -> pd.DataFrame:
    """One row for each named text: both counts, and the place where the snapshots part."""
    rows = {}
    for name, comparison in comparisons.items():
        place = comparison.first_divergence
        rows[name] = {
            "characters": len(comparison.text),
            "tokens a": comparison.a_count,
            "tokens b": comparison.b_count,
            "parts at": "nowhere" if place is None else _name_span(place),
            "text there": "" if place is None else repr(place.text),
            "a has": "" if place is None else " ".join(place.a_tokens) or "no token",
            "b has": "" if place is None else " ".join(place.b_tokens) or "no token",
        }
    return pd.DataFrame.from_dict(rows, orient="index")
