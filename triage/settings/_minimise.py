"""The smallest set of changes that flips an outcome: delta debugging, with few runs where the outcome is monotone.

Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), for the general search; the search by
prefixes is that of QuickXplain (Junker, 2004). Changes that do harm only together are found by either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Fails = Callable[[tuple[int, ...]], bool]


@dataclass(frozen=True)
class Minimal:
    """Places of the smallest set. ``is_minimal``: without any one of them the outcome flips back, as tried."""

    places: tuple[int, ...]
    is_minimal: bool


def minimise(count: int, fails: Fails) -> Minimal:
    """The places, out of ``count``, of a smallest set for which ``fails`` is true; it is for all of them.

    First by prefixes: the shortest prefix that fails ends with a member of the set; with that member in front of all
    the rest, the shortest prefix ends with the next one. That takes about log2(count) tries for each member. What is
    found is then tried without each of its members. Where that contradicts (an outcome that is not monotone, or was
    taken wrongly for a pass), ddmin searches again from what is known to fail.

    >>> tried = []
    >>> found = minimise(200, lambda places: not tried.append(places) and {17, 160} <= set(places))
    >>> found.places, len(tried) < 25
    ((17, 160), True)
    """
    found = _search_prefixes(count, fails)
    known = tuple(range(count))
    if found is not None and fails(found):
        known = found
        if all(not fails(_without(found, place)) for place in found):
            return Minimal(places=found, is_minimal=True)
    places = ddmin(known, fails)
    return Minimal(places=places, is_minimal=True)


def _search_prefixes(count: int, fails: Fails) -> tuple[int, ...] | None:
    """A set by prefixes; None where the outcomes contradict each other."""
    members: list[int] = []
    limit = count
    while True:
        if members and fails(tuple(sorted(members))):
            return tuple(sorted(members))
        if limit == 0 or len(members) >= count:
            return None
        low, high = 0, limit  # a prefix of `low` passes, one of `high` fails
        while high - low > 1:
            middle = (low + high) // 2
            if fails(tuple(sorted({*range(middle), *members}))):
                high = middle
            else:
                low = middle
        members.append(high - 1)
        limit = high - 1


def ddmin(places: tuple[int, ...], fails: Fails) -> tuple[int, ...]:
    """A set that fails and none of whose members can be left out, from one that fails.

    >>> ddmin(tuple(range(8)), lambda places: {1, 6} <= set(places))
    (1, 6)
    """
    parts = 2
    while len(places) > 1:
        chunks = _split(places, parts)
        reduced = next((chunk for chunk in chunks if fails(chunk)), None)
        if reduced is not None:
            places, parts = reduced, 2
            continue
        rests = [tuple(place for place in places if place not in chunk) for chunk in map(set, chunks)]
        reduced = next((rest for rest in rests if rest and fails(rest)), None) if parts > 2 else None
        if reduced is not None:
            places, parts = reduced, max(parts - 1, 2)
        elif parts < len(places):
            parts = min(2 * parts, len(places))
        else:
            break
    return places


def _split(places: tuple[int, ...], parts: int) -> list[tuple[int, ...]]:
    size, extra = divmod(len(places), parts)
    chunks, start = [], 0
    for number in range(parts):
        end = start + size + (number < extra)
        chunks.append(places[start:end])
        start = end
    return [chunk for chunk in chunks if chunk]


def _without(places: tuple[int, ...], place: int) -> tuple[int, ...]:
    return tuple(other for other in places if other != place)
