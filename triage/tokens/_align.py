"""Two encodings of one text, laid side by side: which tokens stand for the same characters, and where they part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

_Numbers: TypeAlias = NDArray[np.int64]


class Gap(NamedTuple):
    """A stretch in which two encodings differ, as half-open ranges of tokens; one of them may be empty."""

    a_start: int
    a_end: int
    b_start: int
    b_end: int


@dataclass(frozen=True)
class Side:
    """One encoding, read once: each attribute of an `Encoding` is built anew at every access."""

    ids: _Numbers
    tokens: list[str]
    starts: _Numbers
    ends: _Numbers
    special: NDArray[np.bool_]

    @classmethod
    def read(cls, encoding: Encoding) -> Side:
        """The parts of an encoding that an alignment needs."""
        offsets = np.fromiter(chain.from_iterable(encoding.offsets), dtype=np.int64).reshape(-1, 2)
        return cls(
            ids=np.array(encoding.ids, dtype=np.int64),
            tokens=encoding.tokens,
            starts=offsets[:, 0],
            ends=offsets[:, 1],
            special=np.array(encoding.special_tokens_mask, dtype=np.bool_),
        )


def align(a: Side, b: Side) -> list[Gap]:
    """All stretches in which two encodings of one text differ, in order. Linear in time and memory.

    Tokens that begin alike, by id and text, are paired one by one. Behind the first difference two tokens are paired
    where they are equal *and* end at the same character: in a text that repeats itself equal tokens are everywhere.
    Only their ends are compared, for whether a word's span begins with the space before it is up to the pre-tokenizer.
    """
    start = _count_common(a, b, 0, 0)
    if start == len(a.ids) == len(b.ids):
        return []
    back = _count_common_end(a, b, start)
    if start + back == min(len(a.ids), len(b.ids)):  # one side has a few tokens more in one place: the usual case
        return [Gap(start, len(a.ids) - back, start, len(b.ids) - back)]
    paired_a, paired_b = _pair(a, b, start)
    at_a = np.concatenate([np.arange(start), paired_a, [len(a.ids)]])
    at_b = np.concatenate([np.arange(start), paired_b, [len(b.ids)]])
    before_a, before_b = (np.concatenate([[-1], at[:-1]]) for at in (at_a, at_b))
    parts = np.flatnonzero((at_a - before_a > 1) | (at_b - before_b > 1))
    bounds = (before_a + 1, at_a, before_b + 1, at_b)
    gaps = map(Gap, *(numbers[parts].tolist() for numbers in bounds))
    return [gap for gap in gaps if not _is_equal(a, b, gap)]


def locate(a: Side, b: Side, gaps: Sequence[Gap], *, length: int) -> list[tuple[int, int]]:
    """The characters that the tokens of each gap stand for, as code points; an empty span where they are all special.

    ``length`` is that of the text.
    """
    bounds = np.array(gaps, dtype=np.int64).reshape(-1, 4)
    starts, ends = np.full(len(gaps), length), np.full(len(gaps), -1)
    for side, (first, last) in ((a, bounds[:, :2].T), (b, bounds[:, 2:].T)):
        some = last > first
        places = np.column_stack([first[some], last[some]]).ravel()
        if len(places):  # one more element, for a range may end behind the last token
            lowest = np.append(np.where(side.special, length, side.starts), length)
            highest = np.append(np.where(side.special, -1, side.ends), -1)
            starts[some] = np.minimum(starts[some], np.minimum.reduceat(lowest, places)[::2])
            ends[some] = np.maximum(ends[some], np.maximum.reduceat(highest, places)[::2])
    spans = zip(gaps, starts.tolist(), ends.tolist(), strict=True)
    return [(start, end) if end >= 0 else (_stand(a, b, gap, length),) * 2 for gap, start, end in spans]


def name_span(start: int, end: int) -> str:
    """A span of characters in words, its last character included.

    >>> name_span(3, 4), name_span(3, 6), name_span(3, 3)
    ('character 3', 'characters 3 to 5', 'at character 3')
    """
    if end > start + 1:
        return f"characters {start} to {end - 1}"
    return f"character {start}" if end > start else f"at character {start}"


def locate_one(a: Side, b: Side, gap: Gap, *, length: int) -> tuple[int, int]:
    """`locate` for a single gap, which is quicker than the sums over all of them."""
    start, end = length, -1
    for side, first, last in ((a, gap.a_start, gap.a_end), (b, gap.b_start, gap.b_end)):
        text = np.flatnonzero(~side.special[first:last]) + first
        if len(text):
            start = min(start, int(side.starts[text].min()))
            end = max(end, int(side.ends[text].max()))
    return (start, end) if end >= 0 else (_stand(a, b, gap, length),) * 2


def _stand(a: Side, b: Side, gap: Gap, length: int) -> int:
    """Where special tokens stand: behind the characters before them, or at the end of the text."""
    sides = ((a, gap.a_start, gap.a_end), (b, gap.b_start, gap.b_end))
    if all(side.special[end:].all() for side, _, end in sides):
        return length
    return max((int(side.ends[:start].max()) for side, start, _ in sides if start), default=0)


def _count_common(a: Side, b: Side, at_a: int, at_b: int) -> int:
    """How many tokens from these places on are the same, one by one."""
    length = min(len(a.ids) - at_a, len(b.ids) - at_b)
    apart = np.flatnonzero(a.ids[at_a : at_a + length] != b.ids[at_b : at_b + length])
    length = int(apart[0]) if len(apart) else length
    ours, theirs = a.tokens[at_a : at_a + length], b.tokens[at_b : at_b + length]
    if ours == theirs:
        return length
    return next(i for i, (x, y) in enumerate(zip(ours, theirs, strict=True)) if x != y)


def _count_common_end(a: Side, b: Side, start: int) -> int:
    """How many tokens from the end on are the same and end at the same character, not counting those before start."""
    length = min(len(a.ids), len(b.ids)) - start
    if not length:
        return 0
    placed = (a.ends[-length:] == b.ends[-length:]) | (a.special[-length:] & b.special[-length:])
    apart = np.flatnonzero(
        ~placed | (a.ids[-length:] != b.ids[-length:]) | (a.special[-length:] != b.special[-length:])
    )
    back = length - 1 - int(apart[-1]) if len(apart) else length
    return back if a.tokens[len(a.tokens) - back :] == b.tokens[len(b.tokens) - back :] else 0


def _pair(a: Side, b: Side, start: int) -> tuple[_Numbers, _Numbers]:
    """The tokens behind ``start`` that are paired, as rising indices into both encodings."""
    bounds_a, bounds_b = _find_text(a, start), _find_text(b, start)
    (lead_a, tail_a), (lead_b, tail_b) = _assign_specials(a, b, start, bounds_a, bounds_b)
    leading = _pair_specials(a, b, range(start, lead_a), range(start, lead_b))
    text = _pair_text(a, b, slice(lead_a, tail_a), slice(lead_b, tail_b))
    trailing = _pair_specials(a, b, range(tail_a, len(a.ids)), range(tail_b, len(b.ids)))
    ours, theirs = (np.concatenate(parts) for parts in zip(leading, text, trailing, strict=True))
    return ours, theirs


def _find_text(side: Side, start: int) -> tuple[int, int] | None:
    """From the first token that stands for characters to behind the last one; None without any."""
    text = np.flatnonzero(~side.special[start:])
    return (start + int(text[0]), start + int(text[-1]) + 1) if len(text) else None


def _assign_specials(
    a: Side, b: Side, start: int, bounds_a: tuple[int, int] | None, bounds_b: tuple[int, int] | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the text begins and ends. Special tokens without any text lead as far as they do on the other side."""
    if bounds_a is None and bounds_b is None:
        return (len(a.ids), len(a.ids)), (len(b.ids), len(b.ids))
    if bounds_a is None and bounds_b is not None:
        lead = start + min(_count_common(a, b, start, start), bounds_b[0] - start)
        return (lead, lead), bounds_b
    if bounds_b is None and bounds_a is not None:
        lead = start + min(_count_common(a, b, start, start), bounds_a[0] - start)
        return bounds_a, (lead, lead)
    return bounds_a or (start, start), bounds_b or (start, start)


def _pair_specials(a: Side, b: Side, in_a: range, in_b: range) -> tuple[_Numbers, _Numbers]:
    """Special tokens stand for no characters: those are paired that are equal from the front or from the back."""
    keys_a, keys_b = ([(int(s.ids[i]), s.tokens[i]) for i in r] for s, r in ((a, in_a), (b, in_b)))
    front, back = _count_ends(keys_a, keys_b)
    pick_a, pick_b = (np.array([*r[:front], *r[len(r) - back :]], dtype=np.int64) for r in (in_a, in_b))
    return pick_a, pick_b


def _count_ends(keys_a: list[tuple[int, str]], keys_b: list[tuple[int, str]]) -> tuple[int, int]:
    length = min(len(keys_a), len(keys_b))
    front = next((i for i in range(length) if keys_a[i] != keys_b[i]), length)
    back = next((i for i in range(length - front) if keys_a[-1 - i] != keys_b[-1 - i]), length - front)
    return front, back


def _pair_text(a: Side, b: Side, in_a: slice, in_b: slice) -> tuple[_Numbers, _Numbers]:
    """Tokens are paired that are equal and end at the same character.

    Several tokens can end at one character (the bytes of an emoji, say): of such a group those are paired that are
    equal from its front or its back.
    """
    firsts_a, sizes_a, ends_a = _group(a, in_a)
    firsts_b, sizes_b, ends_b = _group(b, in_b)
    _, common_a, common_b = np.intersect1d(ends_a, ends_b, assume_unique=True, return_indices=True)
    single = (sizes_a[common_a] == 1) & (sizes_b[common_b] == 1)
    at_a, at_b = firsts_a[common_a[single]], firsts_b[common_b[single]]
    equal = a.ids[at_a] == b.ids[at_b]
    at_a, at_b = at_a[equal], at_b[equal]
    equal = np.fromiter(
        (a.tokens[i] == b.tokens[j] for i, j in zip(at_a.tolist(), at_b.tolist(), strict=True)), np.bool_, len(at_a)
    )
    groups = (firsts_a[common_a], sizes_a[common_a], firsts_b[common_b], sizes_b[common_b])
    more_a, more_b = _pair_groups(a, b, [numbers[~single].tolist() for numbers in groups])
    return np.sort(np.concatenate([at_a[equal], more_a])), np.sort(np.concatenate([at_b[equal], more_b]))


def _pair_groups(a: Side, b: Side, groups: Sequence[list[int]]) -> tuple[_Numbers, _Numbers]:
    """Within each group, given by the first token and the size on both sides, what its front and its back share."""
    paired_a: list[int] = []
    paired_b: list[int] = []
    ids_a, ids_b = (side.ids.tolist() if groups[0] else [] for side in (a, b))
    for first_a, size_a, first_b, size_b in zip(*groups, strict=True):
        end_a, end_b = first_a + size_a, first_b + size_b
        keys_a = list(zip(ids_a[first_a:end_a], a.tokens[first_a:end_a], strict=True))
        keys_b = list(zip(ids_b[first_b:end_b], b.tokens[first_b:end_b], strict=True))
        front, back = _count_ends(keys_a, keys_b)
        paired_a += [*range(first_a, first_a + front), *range(end_a - back, end_a)]
        paired_b += [*range(first_b, first_b + front), *range(end_b - back, end_b)]
    return np.array(paired_a, dtype=np.int64), np.array(paired_b, dtype=np.int64)


def _group(side: Side, part: slice) -> tuple[_Numbers, _Numbers, _Numbers]:
    """Runs of tokens that end at one character: where each begins, its size, and that character.

    A special token in the middle of a text has no offsets: it goes with the token before it.
    """
    ends = np.maximum.accumulate(np.where(side.special[part], 0, side.ends[part]))
    firsts = np.flatnonzero(np.diff(ends, prepend=-1))
    sizes = np.diff(firsts, append=len(ends))
    return firsts + part.start, sizes, ends[firsts]


def _is_equal(a: Side, b: Side, gap: Gap) -> bool:
    """Whether the stretch differs in its offsets alone, which no model sees."""
    return (
        gap.a_end - gap.a_start == gap.b_end - gap.b_start
        and a.tokens[gap.a_start : gap.a_end] == b.tokens[gap.b_start : gap.b_end]
        and bool((a.ids[gap.a_start : gap.a_end] == b.ids[gap.b_start : gap.b_end]).all())
    )
