"""Under which names a loader's own mappers take each key, and how a rule is put behind them."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ._flow import Flow
from ._watch import Note, Watch, find_gap, get_map_name, list_rules

_STACKED = "orig_to_new_stacked"
_RENAMINGS = ("orig_to_new_renaming", "orig_to_new_renamings")


@dataclass
class Names:
    """What the model's own mappers made of each key on its way through the loader.

    ``stems`` are the names behind the first mapper, before it fuses any: there ``renames`` takes effect, which holds
    another stem for some keys (None drops the key). Where no mapper comes first, a key is its own stem; one that a
    mapper drops has none.
    """

    traced: frozenset[str] = frozenset()
    renames: Mapping[str, str | None] = field(default_factory=dict)
    mapped: dict[str, str | None] = field(default_factory=dict)
    stems: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[Note]] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    rules: list[Note] | None = None
    walking: bool = False  # whether a mapper stood before the loader when it asked for its first key
    passed: set[str] = field(default_factory=set)  # the keys that a mapper has taken since the loader was called
    unfuse: Callable[[str], str | None] | None = None  # of the first mapper

    def begin(self) -> None:
        """The loader is called, once more perhaps: what a key was called the last time does not count."""
        self.walking, self.passed = False, set()

    def name_key(self, key: str) -> str | None:
        """The name under which the loader is handed a key."""
        return key if self.walking else self.renames.get(key, key)

    def settle(self, keys: Iterable[str]) -> None:
        """Finds the stems of the keys that the loader was never handed."""
        for key in keys:
            if key not in self.stems and self.mapped.get(key, key) is not None:
                _set_stem(self, key)


def _set_stem(names: Names, key: str) -> None:
    stem = names.renames[key] if key in names.renames else names.unfuse(key) if names.unfuse else key
    if stem is not None:
        names.stems[key] = stem


def _put_behind(name: str | None, tensor: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    return [] if name is None else [(name, tensor)]


def _keep_fusing(mapper: Any) -> Any:
    """The mapper without its renames: what a rule behind those has named may still be fused."""
    stacked = {_STACKED: getattr(mapper, _STACKED)} if hasattr(mapper, _STACKED) else {}
    return type(mapper)(**stacked)


def _make_unfuse(mapper: Any) -> Callable[[str], str | None]:
    """The mapper without what fuses names. It has renamings of its own, for some remember what they have seen."""
    own = {name: copy.deepcopy(getattr(mapper, name)) for name in _RENAMINGS if hasattr(mapper, name)}
    if hasattr(mapper, _STACKED):
        own[_STACKED] = {}
    return get_map_name(dataclasses.replace(mapper, **own))


@contextmanager
def note_names(flow: Flow, names: Names) -> Iterator[None]:
    """Notes the names that ``WeightsMapper.apply`` gives, and for traced keys what each rule does."""
    from vllm.model_executor.models.utils import WeightsMapper

    original = WeightsMapper.apply

    def apply(self: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
        rules_noted, names.walking = False, True
        for name, tensor in weights:
            found = flow.find_keys(tensor)
            key = next(iter(found)) if len(found) == 1 else None
            first = key is not None and key not in names.passed
            if key is not None and first and name == key:
                names.unfuse = names.unfuse or _make_unfuse(self)
                _set_stem(names, key)
            if key is not None and first and name == key and key in names.renames:
                renamed = list(original(_keep_fusing(self), _put_behind(names.renames[key], tensor)))
            else:
                renamed = list(original(self, [(name, tensor)]))
            if key is not None:
                names.passed.add(key)
                if first and not rules_noted and names.rules is None:
                    names.rules, rules_noted = list_rules(self), True
                after = renamed[0][0] if renamed else None
                if key in names.traced:
                    _note_trace(self, key, name, after, names, first=first)
                if first or after is None:
                    names.mapped[key] = after
                elif (before := names.mapped[key]) and before.endswith(name):
                    names.mapped[key] = before.removesuffix(name) + after
            yield from renamed

    WeightsMapper.apply = apply
    try:
        yield
    finally:
        WeightsMapper.apply = original


def _note_trace(mapper: Any, key: str, name: str, after: str | None, names: Names, *, first: bool) -> None:
    watched, notes = Watch(mapper).trace(name)
    if watched != after:
        names.gaps[key] = f"watched, it maps to {watched!r}"
    elif gap := find_gap(name, after, notes):
        names.gaps[key] = gap
    whole = key if first else names.mapped[key]
    if whole is None or not whole.endswith(name):
        names.gaps[key] = f"{name!r} is not the end of {whole!r}"
        return
    head = whole.removesuffix(name)
    for note in notes:
        note["before"] = head + (note["before"] or "")
        note["after"] = None if note["after"] is None else head + note["after"]
        if head and note["scope"] is None:
            note["scope"] = head.rstrip(".")
    names.notes[key] = [*([] if first else names.notes.get(key, [])), *notes]


def describe_last_step(before: str | None, after: str | None, loader: str) -> Note | None:
    """What the model's own ``load_weights`` did after the mapper: a fused parameter's name, say, or nothing at all."""
    if before is None or before == after:
        return None
    pattern, replacement = before, after
    if after is not None:
        old, new = before.split("."), after.split(".")
        while old and new and old[0] == new[0]:
            del old[0], new[0]
        while old and new and old[-1] == new[-1]:
            del old[-1], new[-1]
        pattern, replacement = ".".join(old), ".".join(new)
    return {
        "kind": "loader",
        "pattern": pattern,
        "replacement": replacement,
        "scope": loader,
        "before": before,
        "after": after,
        "dropped": after is None,
    }
