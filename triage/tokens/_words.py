"""Many plain texts compared by their words: a corpus has far fewer words than tokens, and each is encoded once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from triage.errors import SnapshotError
from triage.tokens._equal import count_equal
from triage.tokens._pipelines import find_breaks, is_plain
from triage.tokens._rows import count_following
from triage.tokens._snapshots import Snapshot

_REPEATS = 3  # times that a word comes on average; below, to encode the texts themselves costs no more
_UNKNOWN = 1 << 40  # more tokens than any text has: the sum over a text tells that one word is not known


def count_by_words(a: Snapshot, b: Snapshot, texts: Sequence[str]) -> tuple[dict[str, int], set[str]]:
    """The texts that both encode alike, each with its count, and those with a word of which that is not known.

    In neither are the texts that are not plain or are cut, and all where the words do not decide or are too many.
    """
    breaks = _find_common_breaks(a, b)
    plain = [] if breaks is None else [text for text in texts if is_plain(text)]
    split = [text.split(" ") for text in plain]
    firsts = {words[0] for words in split}
    others = set().union(*split)  # with a few first words too many
    if breaks is None or (len(firsts) + len(others)) * _REPEATS > sum(map(len, split)):
        return {}, set()
    limit = min((s.tokenizer.truncation["max_length"] for s in (a, b) if s.tokenizer.truncation), default=_UNKNOWN)
    broken = _find_broken(others, breaks)
    try:
        leading = count_equal(a, b, sorted(firsts - broken))
        adds = count_following(a, b, sorted(others - broken), limit=limit)
    except SnapshotError:  # a word without an encoding: the text that it stands in says more
        return {}, set()
    if not leading or not adds:
        return {}, set()
    leading = {word: count if (count := leading.get(word, limit)) < limit else _UNKNOWN for word in firsts}
    adds = dict.fromkeys(others, _UNKNOWN) | adds
    counts = [sum(map(adds.__getitem__, words[1:]), leading[words[0]]) for words in split]
    counted = list(zip(plain, counts, strict=True))
    return {t: count for t, count in counted if count < limit}, {t for t, count in counted if count >= _UNKNOWN}


def _find_common_breaks(a: Snapshot, b: Snapshot) -> frozenset[str] | None:
    """What no word may hold; None where words do not decide, as with other special tokens around the text."""
    frames = [s.tokenizer.post_processor and s.tokenizer.post_processor.__getstate__() for s in (a, b)]
    ours, theirs = find_breaks(a), find_breaks(b)
    return None if ours is None or theirs is None or frames[0] != frames[1] else ours | theirs


def _find_broken(words: Collection[str], breaks: Collection[str]) -> set[str]:
    """The words that hold a break."""
    joined = "\n".join(words).lower()
    present = [text for text in breaks if text in joined]
    return {word for word in words if any(text in word.lower() for text in present)} if present else set()
