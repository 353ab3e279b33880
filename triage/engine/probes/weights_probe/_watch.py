"""Watches vLLM's own ``WeightsMapper`` walk over its rules."""

import dataclasses
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Note = dict[str, Any]  # what one rule did: kind, pattern, replacement, scope, before, after, dropped

_PROBE_KEY = "\0"  # a name that no rule matches, so that every rule looks at it
_CHECKED_KEYS = 100  # how many keys, beside the traced ones, are watched to see whether watching works at all

_MANY_KEYS = 20_000
_SHARED: dict[str, Any] = {}  # what the forked processes of `_map_in_parallel` find


def get_map_name(mapper: Any) -> Callable[[str], str | None]:
    """vLLM's own method for one name; older versions have only the private one."""
    method: Callable[[str], str | None] = getattr(mapper, "map_name", None) or mapper._map_name
    return method


def map_keys(mapper: Any, keys: Sequence[str]) -> list[str | None]:
    """vLLM's own name for each key (None: dropped), in the order given; no detour but the walk over the rules."""
    if walk := getattr(mapper, "_map_name_with_shard", None):
        return [None if (found := walk(key)) is None else found[0] for key in keys]
    map_name = get_map_name(mapper)
    return [map_name(key) for key in keys]


def map_and_watch(
    mapper: Any, keys: Sequence[str], traced: Sequence[str]
) -> tuple[dict[str, str | None], dict[str, list[Note]], dict[str, str]]:
    """(the name of each key, the notes of the traced ones, why a trace is not to be trusted, by key).

    Every key is mapped once. The traced ones, and one in so many of the others, are mapped again by a watched copy that
    shares the renamings, for some of these remember what they have seen.
    """
    watch = Watch(mapper)
    wanted = set(traced)
    stride = max(1, len(keys) // _CHECKED_KEYS)
    stops = sorted({*range(0, len(keys), stride), *(i for i, key in enumerate(keys) if key in wanted)})
    ahead = _map_in_parallel(mapper, keys)
    names: list[str | None] = ahead or []
    traces: dict[str, list[Note]] = {}
    gaps: dict[str, str] = {}
    for stop in stops:
        key = keys[stop]
        if ahead is None:  # in runs, so that the watched copy finds the renamings as the key itself found them
            names += map_keys(mapper, keys[len(names) : stop + 1])
        traced_name, notes = watch.trace(key)
        gap = (
            find_gap(key, names[stop], notes) if traced_name == names[stop] else f"watched, it maps to {traced_name!r}"
        )
        if gap:
            gaps[key] = gap
        if key in wanted:
            traces[key] = notes
    names += map_keys(mapper, keys[len(names) :])
    for key in traced:
        if key not in traces:  # asked about a key that the checkpoint does not hold
            name, traces[key] = watch.trace(key)
            if gap := find_gap(key, name, traces[key]):
                gaps[key] = gap
    return dict(zip(keys, names, strict=True)), traces, gaps


def _map_in_parallel(mapper: Any, keys: Sequence[str]) -> list[str | None] | None:
    """`map_keys` by one process a core, or None where that would not pay or the order of the keys matters."""
    renamings = [rule for field in dataclasses.fields(mapper) for rule in _list_renamings(getattr(mapper, field.name))]
    workers = min(4, len(os.sched_getaffinity(0)))
    if len(keys) < _MANY_KEYS or workers < 2 or any(hasattr(rule, "_active") for rule in renamings):
        return None
    length = -(-len(keys) // workers)
    _SHARED.update(mapper=mapper, keys=keys)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        parts = pool.map(_map_part, [(begin, begin + length) for begin in range(0, len(keys), length)])
    _SHARED.clear()
    return [name for part in parts for name in part]


def _list_renamings(rules: Any) -> list[Any]:
    return rules if isinstance(rules, list) else []


def _map_part(span: tuple[int, int]) -> list[str | None]:
    return map_keys(_SHARED["mapper"], _SHARED["keys"][span[0] : span[1]])


def list_rules(mapper: Any) -> list[Note]:
    """The rules of a mapper in the order in which this version applies them."""
    notes = Watch(mapper).trace(_PROBE_KEY)[1]
    return [{name: note[name] for name in ("kind", "pattern", "replacement", "scope")} for note in notes]


class Watch:
    """Notes what each rule does to the name at hand, while vLLM's own method walks over its rules.

    The mapper's collections are replaced by ones that look at the method's local ``key`` before a rule is handed out
    and when the next one is asked for. A version that walks otherwise leaves no notes, and `find_gap` then says so.
    """

    def __init__(self, mapper: Any) -> None:
        self.notes: list[Note] = []
        watched: dict[str, Any] = {}
        for field in dataclasses.fields(mapper):
            rules = getattr(mapper, field.name)
            if isinstance(rules, list):
                watched[field.name] = self._watch_list(field.name, rules)
            elif isinstance(rules, dict):
                watched[field.name] = self._watch_mapping(field.name, rules)
        self._map_name = get_map_name(dataclasses.replace(mapper, **watched))

    def trace(self, key: str) -> tuple[str | None, list[Note]]:
        """(mapped name, the notes of this name)."""
        self.notes = []
        return self._map_name(key), self.notes

    def _watch_list(self, field: str, rules: list[Any]) -> list[Any]:
        watch = self

        class Watched(list[Any]):
            def __iter__(self) -> Iterator[Any]:
                return watch._hand_out([(rule, describe_renaming(field, rule)) for rule in list.__iter__(self)])

        return Watched(rules)

    def _watch_mapping(self, field: str, rules: dict[Any, Any]) -> dict[Any, Any]:
        watch = self

        class Watched(dict[Any, Any]):
            def items(self) -> Any:
                return watch._hand_out([(item, describe_pair(field, *item)) for item in dict.items(self)])

        return Watched(rules)

    def _hand_out(self, rules: list[tuple[Any, Note]]) -> Iterator[Any]:
        for rule, description in rules:
            note = {**description, "before": sys._getframe(1).f_locals.get("key"), "after": None, "dropped": True}
            self.notes.append(note)
            yield rule  # a rule that drops the weight returns from the method: this generator never comes back
            note.update(after=sys._getframe(1).f_locals.get("key"), dropped=False)


def describe_renaming(field: str, rule: Any) -> Note:
    """A Transformers ``WeightRenaming``; ``scope`` is the module that it is confined to."""
    return {
        "kind": field.removeprefix("orig_to_new_"),
        "pattern": " | ".join(getattr(rule, "_original_source_patterns", None) or rule.source_patterns),
        "replacement": " | ".join(rule.target_patterns),
        "scope": getattr(rule, "scope_prefix", None),
    }


def describe_pair(field: str, pattern: Any, replacement: Any) -> Note:
    """A pair of a ``WeightsMapper``: a pattern or plain text, and what takes its place (None drops the weight)."""
    if isinstance(replacement, tuple):  # stacked: (name, shard)
        replacement = replacement[0]
    return {
        "kind": field.removeprefix("orig_to_new_"),
        "pattern": getattr(pattern, "pattern", pattern),
        "replacement": replacement,
        "scope": None,
    }


def find_gap(key: str, mapped: str | None, notes: list[Note]) -> str | None:
    """Why a trace does not lead from the key to the name that vLLM itself gives, or None where it does."""
    name: str | None = key
    for note in notes:
        if note["before"] != name:
            return f"between two rules {name!r} became {note['before']!r}"
        name = note["after"]
    return None if name == mapped else f"the rules lead to {name!r}, vLLM says {mapped!r}"
