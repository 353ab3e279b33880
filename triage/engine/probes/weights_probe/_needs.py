"""What a model still wants when the loader is done: whole parameters, and parts of fused ones."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ._flow import Flow, Region

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")

Parts = dict[
    Region, tuple[str, str]
]  # the parts of a parameter: a name that fills one, and the parameter that it fills
AskParts = Callable[[str], Parts]


def find_missing(
    expected: Mapping[str, Sequence[int]],
    flow: Flow,
    fates: Mapping[str, tuple[str, str | None, object]],
    stems: Mapping[str, str],
    ask_parts: AskParts,
) -> tuple[dict[str, list[int] | None], dict[str, str]]:
    """({name: shape} of what no tensor fills, {parameter: words} for the fused ones that are filled in part).

    A part of a fused parameter has a name and a shape of its own: after the name that fills the same part in another
    layer, else one that the loader takes when it is asked (``ask_parts``). Where neither tells, the parameter stands
    for its parts. ``stems`` are the names of the checkpoint's keys behind the model's mapper.
    """
    parts = _learn_parts(expected, flow, stems)
    taken = {stems.get(key, key) for key, (status, _, _) in fates.items() if status != "unexpected"}
    aimed = {name for status, name, _ in fates.values() if status == "mismatched"}
    missing: dict[str, list[int] | None] = {}
    partial: dict[str, str] = {}
    asked: set[str] = set()
    for name, shape in expected.items():
        size = count_elements(shape)
        filled = flow.count_filled(name)
        if filled >= size:
            continue
        if filled == 0 and name in aimed:
            continue
        known = parts.setdefault(_fold(name), {})
        if sum(count_elements(region[1]) for region in known) < size and _fold(name) not in asked:
            asked.add(_fold(name))
            for region, found in ask_parts(name).items():
                known.setdefault(region, found)
        keys = dict(_name_parts(name, flow, known, taken))
        if filled:
            partial[name] = f"{filled} of {size} elements are filled"
        if filled or len(keys) > 1:
            for key, region in keys.items():
                missing[key] = list(region[1])
        if (not keys and name not in aimed) or not (filled or len(keys) > 1):
            missing[name] = list(shape)
    return missing, partial


def _name_parts(name: str, flow: Flow, known: Parts, taken: Collection[str]) -> Iterator[tuple[str, Region]]:
    """The parts of a parameter that nothing fills: (name, region)."""
    there = {write.region for write in flow.writes.get(name, ())}
    for region, sibling in known.items():
        if region not in there and (key := _transfer(sibling, name)) is not None and key not in taken:
            yield key, region


def count_elements(shape: Sequence[int]) -> int:
    """How many elements a tensor of this shape has."""
    elements = 1
    for length in shape:
        elements *= length
    return elements


def _learn_parts(expected: Mapping[str, Sequence[int]], flow: Flow, stems: Mapping[str, str]) -> dict[str, Parts]:
    """For each kind of parameter, its parts, as the checkpoint's own keys fill them."""
    parts: dict[str, Parts] = {}
    for name in expected:
        for write in flow.writes.get(name, ()):
            if write.region is not None and len(write.keys) == 1:
                (key,) = write.keys
                parts.setdefault(_fold(name), {}).setdefault(write.region, (stems.get(key, key), name))
    return parts


def _fold(name: str) -> str:
    return _NUMBER.sub("*", name)


def _transfer(sibling: tuple[str, str], name: str) -> str | None:
    """The sibling's key with the numbers of another layer: those that its parameter and its key have in common."""
    key, home = sibling
    there, here = _NUMBER.findall(home), _NUMBER.findall(name)
    parts = re.split(r"((?<![^.])\d+(?![^.]))", key)
    place = 1
    for old, new in zip(there, here, strict=True):
        while place < len(parts) and parts[place] != old:
            place += 2
        if place >= len(parts):
            return None
        parts[place] = new
        place += 2
    return "".join(parts)
