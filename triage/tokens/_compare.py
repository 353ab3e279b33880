"""Where two snapshots part on a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from tokenizers import Encoding

from triage.errors import InputError
from triage.tokens._snapshots import Snapshot


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
    encoded = zip(texts, a.tokenizer.encode_batch(list(texts)), b.tokenizer.encode_batch(list(texts)), strict=True)
    return tuple(
        TextComparison(
            text=text, a_count=len(ours), b_count=len(theirs), first_divergence=_find_divergence(text, ours, theirs)
        )
        for text, ours, theirs in encoded
    )


def compare_named(a: Snapshot, b: Snapshot, texts: Mapping[str, str]) -> dict[str, TextComparison]:
    """`compare_snapshots` for texts that have names, such as a query and a document."""
    return dict(zip(texts, compare_snapshots(a, b, list(texts.values())), strict=True))


def _find_divergence(text: str, a: Encoding, b: Encoding) -> Divergence | None:
    keys_a, keys_b = (list(zip(e.tokens, e.ids, strict=True)) for e in (a, b))
    if keys_a == keys_b:
        return None
    start = next(
        (i for i, (x, y) in enumerate(zip(keys_a, keys_b, strict=False)) if x != y), min(len(keys_a), len(keys_b))
    )
    end_a, end_b = _first_common(a, b, start)
    differing = [a.offsets[i] for i in range(start, end_a) if not a.special_tokens_mask[i]]
    differing += [b.offsets[i] for i in range(start, end_b) if not b.special_tokens_mask[i]]
    char_start = min((s for s, _ in differing), default=len(text))
    char_end = max((e for _, e in differing), default=len(text))
    return Divergence(
        index=start,
        char_start=char_start,
        char_end=char_end,
        text=text[char_start:char_end],
        a_tokens=tuple(a.tokens[start:end_a]),
        b_tokens=tuple(b.tokens[start:end_b]),
    )


def _first_common(a: Encoding, b: Encoding, start: int) -> tuple[int, int]:
    """Where the two encodings meet again behind ``start``: the nearest equal token that ends at the same character.

    Offsets, not tokens alone, decide: in a text that repeats itself equal tokens are everywhere. Only their ends are
    compared, for whether a word's span begins with the space before it is up to the pre-tokenizer.
    """

    def places(e: Encoding) -> dict[tuple[object, ...], int]:
        ends: dict[tuple[object, ...], int] = {}
        for i in range(start, len(e.ids)):
            special = bool(e.special_tokens_mask[i])
            ends.setdefault((e.ids[i], e.tokens[i], special, None if special else e.offsets[i][1]), i)
        return ends

    in_b = places(b)
    meetings = [(i, in_b[key]) for key, i in places(a).items() if key in in_b]
    return min(meetings, key=sum, default=(len(a.ids), len(b.ids)))


def describe_place(comparison: TextComparison) -> str:
    """The diverging characters in words.

    >>> gap = Divergence(index=1, char_start=3, char_end=4, text=" ", a_tokens=("▁",), b_tokens=())
    >>> describe_place(TextComparison(text="end ", a_count=2, b_count=1, first_divergence=gap))
    'the trailing space (character 3)'
    """
    place = comparison.first_divergence
    if place is None:
        raise InputError("The snapshots agree on this text.", hint="Ask only where first_divergence is not None.")
    span = f"character {place.char_start}"
    if place.char_end - place.char_start > 1:
        span = f"characters {place.char_start} to {place.char_end - 1}"
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
            "parts at": "nowhere" if place is None else f"characters {place.char_start} to {place.char_end}",
            "text there": "" if place is None else repr(place.text),
            "a has": "" if place is None else " ".join(place.a_tokens) or "no token",
            "b has": "" if place is None else " ".join(place.b_tokens) or "no token",
        }
    return pd.DataFrame.from_dict(rows, orient="index")
