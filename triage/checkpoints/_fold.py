"""Folds many keys into few lines: numbers into ranges, siblings into braces, the rest into modules."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

_NUMBER = re.compile(r"(?:(?<=\.)|^)[0-9]+(?=\.|$)")
_MOST_RANGES = 6
_MOST_NAMES = 8


@dataclass(frozen=True)
class FoldedKeys:
    """One line: how many keys it stands for, and what they are called together."""

    count: int
    text: str


@dataclass(frozen=True)
class _Group:
    parts: tuple[str, ...]
    numbers: tuple[frozenset[int], ...]  # of each part that is "*"
    count: int


def fold_keys(keys: Iterable[str], *, max_lines: int = 12) -> list[FoldedKeys]:
    """The keys as at most ``max_lines`` lines, in order of appearance.

    Where siblings have the same numbers below them they share a line; where that is not enough, keys of one module do,
    and ``**`` stands for what they end in.

    >>> fold_keys([f"layers.{n}.{name}_proj.weight" for n in range(27) for name in "qkv"])
    [FoldedKeys(count=81, text='layers.{0..26}.{q_proj,k_proj,v_proj}.weight')]
    """
    groups = _group_by_pattern(keys)
    lines = _join_siblings(groups)
    depth = max((len(group.parts) for group in groups), default=0)
    while len(lines) > max_lines and depth > 1:
        depth -= 1
        lines = _join_siblings(_cut(groups, depth))
    if len(lines) > max_lines:
        rest = lines[max_lines - 1 :]
        lines = [*lines[: max_lines - 1], FoldedKeys(sum(line.count for line in rest), f"{len(rest)} other modules")]
    return lines


def fold_layers(keys: Iterable[str]) -> list[str]:
    """Keys with their layer numbers folded into ranges, each kind once, in order of appearance.

    >>> fold_layers(["layers.0.q", "layers.1.q", "layers.3.q", "norm"])
    ['layers.{0..1,3}.q', 'norm']
    """
    return [".".join(_write_numbers(group)) for group in _group_by_pattern(keys)]


def elide_tail(names: Iterable[str]) -> list[str]:
    """Names of one key, without the parts that all of them end with; a change is seen at their beginning.

    >>> elide_tail(["tower.model.embed.weight", "model.tower.embed.weight"])
    ['tower.model.…', 'model.tower.…']
    """
    split = [name.split(".") for name in names]
    shared = 0
    for column in zip(*(reversed(parts) for parts in split), strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    shared = min([shared, *(len(parts) - 1 for parts in split)])
    return [".".join([*parts[:-shared], "…"] if shared else parts) for parts in split]


def _group_by_pattern(keys: Iterable[str]) -> list[_Group]:
    columns: dict[str, list[set[int]]] = {}
    counts: dict[str, int] = defaultdict(int)
    for key in keys:
        found = _NUMBER.findall(key)
        pattern = _NUMBER.sub("*", key) if found else key
        counts[pattern] += 1
        for column, number in zip(columns.setdefault(pattern, [set() for _ in found]), found, strict=False):
            column.add(int(number[:18]))
    return [
        _Group(tuple(pattern.split(".")), tuple(map(frozenset, numbers)), counts[pattern])
        for pattern, numbers in columns.items()
    ]


def _cut(groups: list[_Group], depth: int) -> list[_Group]:
    """The groups by their first ``depth`` parts."""
    cut: dict[tuple[str, ...], tuple[list[set[int]], int]] = {}
    for group in groups:
        head = group.parts[:depth]
        parts = (*head, "**") if len(group.parts) > depth else head
        numbers = group.numbers[: head.count("*")]
        columns, count = cut.get(parts, ([set() for _ in numbers], 0))
        for column, new in zip(columns, numbers, strict=False):
            column.update(new)
        cut[parts] = (columns, count + group.count)
    return [_Group(parts, tuple(map(frozenset, columns)), count) for parts, (columns, count) in cut.items()]


def _join_siblings(groups: list[_Group]) -> list[FoldedKeys]:
    """Groups that differ in one part alone become one, from the last part to the first."""
    rows = {_write_numbers(group): group.count for group in groups}
    for place in range(1, max(map(len, rows), default=0) + 1):
        siblings: dict[tuple[tuple[str, ...], ...], list[str]] = {}
        counts: dict[tuple[tuple[str, ...], ...], int] = defaultdict(int)
        for parts, count in rows.items():
            if place <= len(parts):
                around: tuple[tuple[str, ...], ...] = (parts[:-place], parts[len(parts) - place + 1 :])
                siblings.setdefault(around, []).append(parts[-place])
            else:
                around = (parts,)
            counts[around] += count
        rows = {
            (*around[0], _write_names(siblings[around]), *around[1]) if around in siblings else around[0]: count
            for around, count in counts.items()
        }
    return [FoldedKeys(count, ".".join(parts)) for parts, count in rows.items()]


def _write_numbers(group: _Group) -> tuple[str, ...]:
    columns = iter(group.numbers)
    return tuple(fold_numbers(next(columns, frozenset())) if part == "*" else part for part in group.parts)


def _write_names(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    shown = names[:_MOST_NAMES] + ([f"… {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else [])
    return "{" + ",".join(shown) + "}"


def fold_numbers(numbers: Iterable[int]) -> str:
    """Numbers as ranges; of very many, the first and the last.

    >>> fold_numbers({0, 1, 2, 5}), fold_numbers({7}), fold_numbers(range(0, 40, 2))
    ('{0..2,5}', '7', '{20 of 0..38}')
    """
    ordered = sorted(numbers)
    if not ordered:
        return "*"
    if len(ordered) == 1:
        return str(ordered[0])
    ranges: list[list[int]] = []
    for number in ordered:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    if len(ranges) > _MOST_RANGES:
        return f"{{{len(ordered)} of {ordered[0]}..{ordered[-1]}}}"
    return "{" + ",".join(str(a) if a == b else f"{a}..{b}" for a, b in ranges) + "}"
