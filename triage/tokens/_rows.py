"""What words add to a plain text: many are encoded at a time, for a call costs more than a word does.

Between any two of them stands one and the same word, the anchor, which is a single token: so each word's tokens are
told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from triage.tokens._encode import encode_pairs
from triage.tokens._equal import SharedIds
from triage.tokens._snapshots import Snapshot

_ROW = 16  # words that are encoded at a time
_CANDIDATES = 64  # words of which one is to be the anchor


class _Anchor(NamedTuple):
    """A word, its one id behind another word, and how often that id is in the word at the beginning of a text."""

    word: str
    number: int
    leading: int


def count_following(a: Snapshot, b: Snapshot, words: Sequence[str], *, limit: int) -> dict[str, int]:
    """The words of which both snapshots make the same behind another word, with the number of tokens that they add.

    The empty word is the space that ends a text. Both pipelines must encode words one by one, as `find_breaks` tells;
    ``limit`` is the number of tokens to which one of them cuts a text. Nothing is found without a word that can be an
    anchor.
    """
    rows = _Rows(a, b, limit=limit)
    anchor = rows.find_anchor([word for word in words if word])
    if anchor is None:
        return {}
    adds = {anchor.word: 1} | rows.count_end(anchor, "" in words)
    left = [word for word in words if word not in {"", anchor.word}]
    for size in (_ROW, 1):  # a word that holds the anchor's token spoils its row
        found, left = rows.count(left, anchor, size=size)
        adds |= found
    return adds


class _Rows:
    """Two snapshots, and the ids of which it is known what they stand for."""

    def __init__(self, a: Snapshot, b: Snapshot, *, limit: int) -> None:
        self._a, self._b, self._limit = a, b, limit
        self._shared = SharedIds(a, b)

    def find_anchor(self, words: Sequence[str]) -> _Anchor | None:
        """The longest word, for few others hold it, that is one token behind another word and the same in both."""
        candidates = sorted(words, key=len)[-_CANDIDATES:]
        alike = self._encode_alike([text for word in candidates for text in (word, f"{word} {word}")])
        for word in reversed(candidates):
            alone, twice = alike.get(word), alike.get(f"{word} {word}")
            if alone is not None and twice is not None and len(twice) == len(alone) + 1:
                return _Anchor(word, twice[-1], leading=alone.count(twice[-1]))
        return None

    def count_end(self, anchor: _Anchor, wanted: bool) -> dict[str, int]:
        """What a space at the end adds, where both agree on it."""
        alike = self._encode_alike([anchor.word, f"{anchor.word} "] if wanted else [])
        return {"": len(alike[f"{anchor.word} "]) - len(alike[anchor.word])} if len(alike) > 1 else {}

    def count(self, words: Sequence[str], anchor: _Anchor, *, size: int) -> tuple[dict[str, int], list[str]]:
        """What the words add, in rows of this size; and the words of rows whose parts cannot be told apart."""
        between = f" {anchor.word} "
        texts: dict[str, Sequence[str]] = {}
        for start in range(0, len(words), size):
            row = words[start : start + size]
            texts[f"{anchor.word}{between}{between.join(row)} {anchor.word}"] = row
        adds: dict[str, int] = {}
        spoiled: list[str] = []
        for text, ours, theirs in self._encode(list(texts)):
            row = texts[text]
            doubtful = self._shared.find_doubtful(set(ours))
            parts, others = (_cut(ids, anchor, pieces=len(row)) for ids in (ours, theirs))
            if parts is None or others is None:
                spoiled += row
                continue
            for word, x, y in zip(row, parts, others, strict=True):
                if x == y and doubtful.isdisjoint(x):
                    adds[word] = len(x)
        return adds, spoiled

    def _encode_alike(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """The ids of those texts that both encode alike."""
        encoded = self._encode(texts)
        return {text: x for text, x, y in encoded if x == y and not self._shared.find_doubtful(set(x))}

    def _encode(self, texts: Sequence[str]) -> Iterator[tuple[str, list[int], list[int]]]:
        """Each text that neither snapshot cuts, with its ids by both, without special tokens."""
        for batch, ours, theirs in encode_pairs(self._a, self._b, texts, offsets=False, special=False):
            for text, x, y in zip(batch, ours, theirs, strict=True):
                if len(x) < self._limit and len(y) < self._limit:
                    yield text, x.ids, y.ids


def _cut(ids: list[int], anchor: _Anchor, *, pieces: int) -> list[list[int]] | None:
    """The ids between the anchors, one list for each word; None where the anchor's id is in a word as well."""
    places = [place for place, number in enumerate(ids) if number == anchor.number]
    if len(places) != anchor.leading + 1 + pieces:
        return None
    return [ids[start + 1 : end] for start, end in pairwise(places[anchor.leading :])]
