"""Where two snapshots part on a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tokenizers import Encoding

from triage.errors import InputError
from triage.tokens._align import Gap, Side, align, locate, locate_one, name_span
from triage.tokens._encode import encode_pairs
from triage.tokens._equal import count_equal
from triage.tokens._first import ShortSide, find_only_gap, find_span
from triage.tokens._snapshots import Snapshot
from triage.tokens._words import count_by_words

_COLUMNS = ["index_a", "index_b", "char_start", "char_end", "text", "a_tokens", "b_tokens", "before", "after"]
_CONTEXT = 3  # tokens around a place
_LONGEST_CELL = 60  # characters in a table
_SHORT_TOKENS = 200  # plain lists are quicker than arrays up to here
_LONG_CHARACTERS = 100_000  # beyond, a text that differs is not encoded twice


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first stretch of tokens in which two snapshots differ.

    ``index`` counts tokens; ``char_start`` and ``char_end`` are code points of the original text, and ``text`` is what
    stands there. ``a_tokens`` or ``b_tokens`` is empty where that snapshot has no token for it; ``before`` and
    ``after`` are up to three tokens around the place on which both agree.
    """

    index: int
    char_start: int
    char_end: int
    text: str
    a_tokens: tuple[str, ...]
    b_tokens: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


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
    a.check_texts(texts)
    b.check_texts(texts)
    distinct = list(dict.fromkeys(texts))
    found = {
        text: TextComparison(text=text, a_count=count, b_count=count, first_divergence=None)
        for text, count in _count_alike(a, b, distinct).items()
    }
    others = [text for text in distinct if text not in found]
    for batch, ours, theirs in encode_pairs(a, b, others):
        found |= map(_compare_whole, batch, ours, theirs)
    return tuple(found[text] for text in texts)


def _count_alike(a: Snapshot, b: Snapshot, texts: Sequence[str]) -> dict[str, int]:
    """Those of the texts that are encoded alike and are quickly known to be, each with its count."""
    if len(texts) == 1:
        return {}
    short = [text for text in texts if len(text) <= _LONG_CHARACTERS]
    alike, doubtful = count_by_words(a, b, short)
    return alike | count_equal(a, b, [text for text in short if text not in alike and text not in doubtful])


def _compare_whole(text: str, ours: Encoding, theirs: Encoding) -> tuple[str, TextComparison]:
    place = find_divergence(text, ours, theirs)
    return text, TextComparison(text=text, a_count=len(ours), b_count=len(theirs), first_divergence=place)


def compare_named(a: Snapshot, b: Snapshot, texts: Mapping[str, str]) -> dict[str, TextComparison]:
    """`compare_snapshots` for texts that have names, such as a query and a document."""
    return dict(zip(texts, compare_snapshots(a, b, list(texts.values())), strict=True))


def list_divergences(a: Snapshot, b: Snapshot, text: str, *, context: int = _CONTEXT) -> pd.DataFrame:
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
    found = None if len(a) > _SHORT_TOKENS else _find_quickly(text, a, b)
    if found is not None:
        return found
    ours, theirs = Side.read(a), Side.read(b)
    gaps = align(ours, theirs)
    if not gaps:
        return None
    span = locate_one(ours, theirs, gaps[0], length=len(text))
    end = gaps[1].a_start if len(gaps) > 1 else len(ours.tokens)
    return _make_divergence(text, ours.tokens, theirs.tokens, gaps[0], span, end=end)


def _find_quickly(text: str, a: Encoding, b: Encoding) -> Divergence | None:
    """The first place in the usual case; None for any other, even where both are the same."""
    ours, theirs = ShortSide.read(a), ShortSide.read(b)
    gap = find_only_gap(ours, theirs)
    span = None if gap is None else find_span(ours, theirs, gap)
    if gap is None or span is None:
        return None
    return _make_divergence(text, ours.tokens, theirs.tokens, gap, span, end=len(ours.tokens))


def _make_divergence(text: str, a: list[str], b: list[str], gap: Gap, span: tuple[int, int], *, end: int) -> Divergence:
    """The index is the same on both sides: up to here every token is. ``end`` is where they part again, in A."""
    return Divergence(
        index=gap.a_start,
        char_start=span[0],
        char_end=span[1],
        text=text[slice(*span)],
        a_tokens=tuple(a[gap.a_start : gap.a_end]),
        b_tokens=tuple(b[gap.b_start : gap.b_end]),
        before=tuple(a[max(0, gap.a_start - _CONTEXT) : gap.a_start]),
        after=tuple(a[gap.a_end : min(end, gap.a_end + _CONTEXT)]),
    )


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

    >>> gap = Divergence(index=1, char_start=3, char_end=4, text=" ", a_tokens=("▁",), b_tokens=(), before=(), after=())
    >>> describe_place(TextComparison(text="end ", a_count=2, b_count=1, first_divergence=gap))
    'the trailing space (character 3)'
    """
    place = comparison.first_divergence
    if place is None:
        raise InputError("The snapshots agree on this text.", hint="Ask only where first_divergence is not None.")
    span = name_span(place.char_start, place.char_end)
    if not place.text.strip() and place.text:
        where = {0: "leading", len(comparison.text) - len(place.text): "trailing"}.get(place.char_start, "inner")
        return f"the {where} {'space' if place.text == ' ' else 'white space ' + repr(place.text)} ({span})"
    return f"{place.text!r} ({span})"


def tabulate_texts(comparisons: Mapping[str, TextComparison]) -> pd.DataFrame:
    """One row for each named text: both counts, and the place where the snapshots part."""
    rows = {}
    for name, comparison in comparisons.items():
        place = comparison.first_divergence
        rows[name] = {
            "characters": len(comparison.text),
            "tokens a": comparison.a_count,
            "tokens b": comparison.b_count,
            "parts at": "nowhere" if place is None else name_span(place.char_start, place.char_end),
            "text there": "" if place is None else repr(_clip(place.text)),
            "a has": "" if place is None else _clip(" ".join(place.a_tokens) or "no token"),
            "b has": "" if place is None else _clip(" ".join(place.b_tokens) or "no token"),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _clip(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"
