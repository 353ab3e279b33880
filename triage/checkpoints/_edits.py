"""Which changes of names could lead from unexpected keys to missing ones, found by folding layers and setting them
beside each other. What is found here is a guess; `triage.checkpoints._infer` tries each on every name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product

from triage.checkpoints._patterns import STAR, Parts, Site

Shape = tuple[int, ...]
Numbers = tuple[str, ...]
_FEW = 64  # unexpected names, of which every alignment is looked at, not the one with most parts in common alone
_NEAREST = 24  # missing kinds that are looked at for each unexpected kind, where more have its shape
_MOST_LITERALS = 64  # combinations of numbers that are looked at where a number is part of the change


@dataclass(frozen=True)
class Kind:
    """Names that differ in numbers alone: the parts with each number folded, and the shape of each member."""

    parts: Parts
    members: Mapping[Numbers, Shape]

    def unfold(self, numbers: Numbers) -> str:
        """The name of a member."""
        return ".".join(fill(self.parts, numbers))


@dataclass
class Edit:
    """One change, ``old`` to ``new``, at the places where it pairs names of equal shape. ``weight`` counts names."""

    old: Parts
    new: Parts
    sites: dict[Kind, list[Site]] = field(default_factory=lambda: defaultdict(list))
    weight: Counter[Parts] = field(default_factory=Counter)  # by the parts before the change


def fold_names(shapes: Mapping[str, Shape]) -> list[Kind]:
    """The kinds of names, in order of appearance.

    >>> [(kind.parts, len(kind.members)) for kind in fold_names({"a.0.b": (1,), "a.1.b": (1,), "c": (2,)})]
    [(('a', '*', 'b'), 2), (('c',), 1)]
    """
    kinds: dict[Parts, dict[Numbers, Shape]] = {}
    for name, shape in shapes.items():
        parts = name.split(".")
        numbers = tuple(part for part in parts if part.isdigit() and part.isascii())
        folded = tuple(STAR if part.isdigit() and part.isascii() else part for part in parts) if numbers else (*parts,)
        kinds.setdefault(folded, {})[numbers] = shape
    return [Kind(parts=parts, members=_Members(members)) for parts, members in kinds.items()]


class _Members(dict[Numbers, Shape]):
    """Compared by identity, so that a kind can be a key without its members being hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def find_edits(unexpected: list[Kind], missing: list[Kind]) -> list[Edit]:
    """Every change that leads from names of an unexpected kind to missing names of the same shape."""
    edits: dict[tuple[Parts, Parts, bool], Edit] = {}
    by_shape: dict[Shape, list[Kind]] = defaultdict(list)
    for kind in missing:
        for shape in set(kind.members.values()):
            by_shape[shape].append(kind)
    thorough = sum(len(kind.members) for kind in unexpected) <= _FEW
    for kind in unexpected:
        near: dict[Kind, int] = {}
        for shape in dict.fromkeys(kind.members.values()):
            for target in by_shape.get(shape, ()):
                near[target] = near.get(target, 0)
        nearest = sorted(near, key=lambda target: -_count_shared(kind.parts, target.parts))[:_NEAREST]
        for target in nearest:
            for old, new, site, weight in _align(kind, target, thorough=thorough):
                edit = edits.setdefault((old, new, bool(site.after)), Edit(old=old, new=new))
                edit.sites[kind].append(site)
                edit.weight[site.before] += weight
    return list(edits.values())


def _count_shared(first: Parts, second: Parts) -> int:
    head, tail = measure_overlap(first, second)
    return 4 * (head + tail) + sum((Counter(first) & Counter(second)).values())


def measure_overlap(first: Parts, second: Parts) -> tuple[int, int]:
    """How many parts both begin with, and how many of the rest both end with."""
    shortest = min(len(first), len(second))
    head = next((i for i in range(shortest) if first[i] != second[i]), shortest)
    tail = next((i for i in range(shortest - head) if first[-1 - i] != second[-1 - i]), shortest - head)
    return head, tail


def _align(kind: Kind, target: Kind, *, thorough: bool) -> Iterator[tuple[Parts, Parts, Site, int]]:
    """(old, new, where, how many names it pairs) for each change that leads from one kind to the other."""
    first, second = kind.parts, target.parts
    yield from _pair_repeated(kind, target)
    head, tail = measure_overlap(first, second)
    if thorough:
        for fewer_head, fewer_tail in product(range(head + 1), range(tail + 1)):
            yield from _pair(kind, target, head - fewer_head, tail - fewer_tail)
    while True:
        yield from _pair(kind, target, head, tail)
        # What comes or goes beside its like has several places: `a.a.b` may come of `a.b` by either `a`.
        longer, more = (
            (first, head + tail == len(second)) if len(first) > len(second) else (second, head + tail == len(first))
        )
        if not more or not head or longer[head - 1] != longer[len(longer) - tail - 1]:
            return
        head, tail = head - 1, tail + 1


def _pair(kind: Kind, target: Kind, head: int, tail: int) -> Iterator[tuple[Parts, Parts, Site, int]]:
    """The changes between the first ``head`` and the last ``tail`` parts."""
    first, second = kind.parts, target.parts
    old, new = first[head : len(first) - tail], second[head : len(second) - tail]
    before, after = first[:head], first[len(first) - tail :]
    start, stars_old, stars_new = before.count(STAR), old.count(STAR), new.count(STAR)
    if stars_old == stars_new:
        pairs = [numbers for numbers, shape in kind.members.items() if target.members.get(numbers) == shape]
        if pairs and (old or new):
            yield old, new, _make_site(before, after, pairs, start), len(pairs)
        if len(pairs) == len(kind.members):
            return
    if not stars_old and not stars_new:
        return
    # A number is part of the change: `mlp.0` became `mlp.fc1`.
    olds = dict.fromkeys(numbers[start : start + stars_old] for numbers in kind.members)
    news = dict.fromkeys(numbers[start : start + stars_new] for numbers in target.members)
    for gone, come in islice(product(olds, news), _MOST_LITERALS):
        pairs = [
            numbers
            for numbers, shape in kind.members.items()
            if numbers[start : start + stars_old] == gone
            and target.members.get((*numbers[:start], *come, *numbers[start + stars_old :])) == shape
        ]
        if pairs and fill(old, gone) != fill(new, come):
            yield fill(old, gone), fill(new, come), _make_site(before, after, pairs, start), len(pairs)


def _pair_repeated(kind: Kind, target: Kind) -> Iterator[tuple[Parts, Parts, Site, int]]:
    """A part that changes, or goes, at several places of a name: ``attn.attn`` where ``attn`` was renamed."""
    first, second = kind.parts, target.parts
    for old, count in Counter(first).items():
        longer, rest = divmod(len(second) - len(first) + count, count)
        if count < 2 or old == STAR or rest or longer < 0:
            continue
        places = [index for index, part in enumerate(first) if part == old]
        new = second[places[0] : places[0] + longer]
        if STAR in new or tuple(part for own in first for part in (new if own == old else (own,))) != second:
            continue
        pairs = [numbers for numbers, shape in kind.members.items() if target.members.get(numbers) == shape]
        for index in places if pairs and new != (old,) else ():
            before = first[:index]
            yield (old,), new, _make_site(before, first[index + 1 :], pairs, before.count(STAR)), len(pairs)


def _make_site(before: Parts, after: Parts, pairs: list[Numbers], start: int) -> Site:
    values = tuple(tuple(dict.fromkeys(numbers[i] for numbers in pairs)) for i in range(start))
    return Site(before=before, after=after, values=values)


def fill(parts: Parts, numbers: Numbers) -> Parts:
    """The parts with each star replaced by its number.

    >>> fill(("layers", "*", "norm"), ("3",))
    ('layers', '3', 'norm')
    """
    left = iter(numbers)
    return tuple(next(left) if part == STAR else part for part in parts)
