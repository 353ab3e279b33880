"""The first place where two encodings of a short text part, without the arrays that a long one is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Encoding

from triage.tokens._align import Gap


@dataclass(frozen=True)
class ShortSide:
    """One encoding as plain lists: each attribute of an `Encoding` is built anew at every access."""

    ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    special: list[int]

    @classmethod
    def read(cls, encoding: Encoding) -> ShortSide:
        """The parts of an encoding that its comparison needs."""
        return cls(encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask)


def find_only_gap(a: ShortSide, b: ShortSide) -> Gap | None:
    """The one stretch in which one side has a few tokens more, as is usual; None where it is not as simple as that.

    What it returns is all that `align` returns.
    """
    shortest = min(len(a.ids), len(b.ids))
    start = next((i for i in range(shortest) if a.ids[i] != b.ids[i] or a.tokens[i] != b.tokens[i]), shortest)
    back = next((i for i in range(shortest - start) if not _is_equal(a, b, -1 - i)), shortest - start)
    if start + back < shortest or len(a.ids) == len(b.ids):
        return None
    return Gap(start, len(a.ids) - back, start, len(b.ids) - back)


def find_span(a: ShortSide, b: ShortSide, gap: Gap) -> tuple[int, int] | None:
    """The characters that the tokens of a gap stand for; None where they are all special."""
    offsets = [*_find_offsets(a, gap.a_start, gap.a_end), *_find_offsets(b, gap.b_start, gap.b_end)]
    return (min(start for start, _ in offsets), max(end for _, end in offsets)) if offsets else None


def _is_equal(a: ShortSide, b: ShortSide, place: int) -> bool:
    """Whether the tokens at a place, counted from the end, are the same and end at the same character."""
    return (
        a.ids[place] == b.ids[place]
        and a.tokens[place] == b.tokens[place]
        and a.special[place] == b.special[place]
        and (a.offsets[place][1] == b.offsets[place][1] or bool(a.special[place]))
    )


def _find_offsets(side: ShortSide, first: int, last: int) -> Sequence[tuple[int, int]]:
    return [side.offsets[i] for i in range(first, last) if not side.special[i]]
