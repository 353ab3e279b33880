"""Two captures side by side: what was added, removed and changed, ranked by what is known to matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from pydantic import JsonValue

from triage.settings._matters import rate_difference
from triage.settings._record import EnvironmentCapture, GpuSection


class Change(StrEnum):
    """What became of a name from the first capture to the second."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One name that is not the same; ``before`` or ``after`` is None where it is absent."""

    section: str
    name: str
    change: Change
    before: JsonValue
    after: JsonValue
    weight: int
    why: str


@dataclass(frozen=True, kw_only=True)
class EnvironmentDiff:
    """What differs between two captures, most telling first."""

    differences: tuple[Difference, ...]
    not_compared: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, JsonValue]:
        """The answer of ``triage env diff --json``: by change, then by section and name; and the whole in its order."""
        parts: dict[str, dict[str, dict[str, JsonValue]]] = {change.value: {} for change in Change}
        for d in self.differences:
            both: JsonValue = [d.before, d.after]
            value = {Change.ADDED: d.after, Change.REMOVED: d.before, Change.CHANGED: both}[d.change]
            parts[d.change].setdefault(d.section, {})[d.name] = value
        ranked: list[JsonValue] = [
            {"section": d.section, "name": d.name, "change": d.change.value, "weight": d.weight, "why": d.why}
            for d in self.differences
        ]
        return {**parts, "ranked": ranked, "not_compared": list(self.not_compared)}  # type: ignore[dict-item]


@dataclass(frozen=True)
class _Sections:
    """A capture as flat sections of names and values."""

    capture: EnvironmentCapture

    @cached_property
    def flat(self) -> dict[str, dict[str, JsonValue]]:
        c = self.capture
        return {
            "versions": {name: value for name, value in c.versions.items() if value is not None},
            "source": {name: value for name, value in c.source.items() if name != "path"},
            "arguments": dict(list_arguments(c.arguments)),
            "variables": dict(c.variables),
            "gpu": dict(_flatten_gpu(c.gpu)),
            "libraries": {
                name: {"version": held.version, "build_id": held.build_id} for name, held in c.libraries.items()
            },
            "packages": dict(c.packages),
            "vllm_defaults": {name: row.default for name, row in c.vllm_variables.items()},
            "hub": {f"{model}@{ref}": commit for model, held in c.hub.items() for ref, commit in held.refs.items()},
            "machine": dict(c.machine),
        }


# A section that one side could not collect is no difference: it is said instead.
_COLLECTED_AS = {"vllm_defaults": "vllm_variables"}


def compare_captures(before: EnvironmentCapture, after: EnvironmentCapture) -> EnvironmentDiff:
    """What differs from one capture to another, ranked; ``before`` and ``after`` say no more than first and second.

    >>> a = EnvironmentCapture(captured="now", variables={"HSA_ENABLE_SDMA": "", "CI": "1"})
    >>> b = EnvironmentCapture(captured="now", variables={"CI": "1", "OMP_NUM_THREADS": "8"})
    >>> [(d.name, d.change.value) for d in compare_captures(a, b).differences]
    [('HSA_ENABLE_SDMA', 'removed'), ('OMP_NUM_THREADS', 'added')]
    """
    old, new = _Sections(before).flat, _Sections(after).flat
    missing = {
        part.what: (side, part.why)
        for side, capture in (("first", before), ("second", after))
        for part in capture.not_collected
    }
    found, silent = [], []
    for section in old:
        name = _COLLECTED_AS.get(section, section)
        if name in missing and name != "gpu":
            side, why = missing[name]
            silent.append(f"{section}: not collected on the {side} side ({why})")
            continue
        found += list(_compare(section, old[section], new[section]))
    found.sort(key=lambda d: (-d.weight, d.section, d.name))
    return EnvironmentDiff(differences=tuple(found), not_compared=tuple(silent))


def _compare(section: str, old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        if name in old and name in new and old[name] == new[name]:
            continue
        change = Change.ADDED if name not in old else Change.REMOVED if name not in new else Change.CHANGED
        weight, why = rate_difference(section, name)
        yield Difference(
            section=section,
            name=name,
            change=change,
            before=old.get(name),
            after=new.get(name),
            weight=weight,
            why=why,
        )


def list_arguments(arguments: tuple[str, ...]) -> Iterator[tuple[str, JsonValue]]:
    """Options with their values: ``--a 1 --b=2 --c`` is three.

    >>> list(list_arguments(("--a", "1", "--b=2", "--c")))
    [('--a', '1'), ('--b', '2'), ('--c', '')]
    """
    name, values = "", list[str]()
    for word in arguments:
        if word.startswith("--"):
            if name or values:
                yield name, " ".join(values)
            name, equals, value = word.partition("=")
            values = [value] if equals else []
        else:
            values.append(word)
    if name or values:
        yield name, " ".join(values)


def _flatten_gpu(section: GpuSection) -> Iterator[tuple[str, JsonValue]]:
    yield from (
        (name, value) for name, value in (("driver", section.driver), ("rocm", section.rocm)) if value is not None
    )
    yield "gpus", len(section.gpus)
    for index, gpu in enumerate(section.gpus):
        yield f"{index}.name", gpu.name
        yield f"{index}.arch", gpu.arch
        yield f"{index}.vram_bytes", gpu.vram_bytes
    yield from ((f"firmware.{name}", value) for name, value in section.firmware.items())
    yield from section.details.items()
