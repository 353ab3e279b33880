"""What a model still wants when the loader is done: whole parameters, and parts of fused ones."""

import re
from collections.abc import Mapping, Sequence

from ._flow import Flow, Region

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def find_missing(
    expected: Mapping[str, Sequence[int]], flow: Flow, fates: Mapping[str, tuple[str, str | None, object]]
) -> tuple[dict[str, list[int] | None], dict[str, str]]:
    """({name: shape} of what no tensor fills, {parameter: words} for the fused ones that are filled in part).

    A part that is missing in one layer and there in another has a name, after that layer's key, and a shape; where no
    layer tells, the parameter stands for it.
    """
    parts = _learn_parts(expected, flow)
    aimed = {name for status, name, _ in fates.values() if status == "mismatched"}
    missing: dict[str, list[int] | None] = {}
    partial: dict[str, str] = {}
    for name, shape in expected.items():
        size = 1
        for length in shape:
            size *= length
        filled = flow.count_filled(name)
        if filled >= size:
            continue
        if filled == 0 and name in aimed:
            continue
        there = {write.region for write in flow.writes.get(name, ())}
        keys = {
            key: region
            for region, sibling in parts.get(_fold(name), {}).items()
            if region not in there and (key := _transfer(sibling, name)) is not None and key not in fates
        }
        if filled:
            partial[name] = f"{filled} of {size} elements are filled"
        if filled or len(keys) > 1:
            for key, region in keys.items():
                missing[key] = list(region[1])
        if (not keys and name not in aimed) or not (filled or len(keys) > 1):
            missing[name] = list(shape)
    return missing, partial


def _learn_parts(expected: Mapping[str, Sequence[int]], flow: Flow) -> dict[str, dict[Region, tuple[str, str]]]:
    """For each kind of parameter, its parts and (a key, the parameter) that one of them came from."""
    parts: dict[str, dict[Region, tuple[str, str]]] = {}
    for name in expected:
        for write in flow.writes.get(name, ()):
            if write.region is not None and len(write.keys) == 1:
                parts.setdefault(_fold(name), {}).setdefault(write.region, (next(iter(write.keys)), name))
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
