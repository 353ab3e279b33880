"""What one pair of vLLM and Transformers makes of a checkpoint's keys: its own mapper, its own loader, no weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from triage.engine._probe import ask_process
from triage.engine.history import VersionPair
from triage.engine.models import check_model_folder
from triage.errors import EngineError

_PROBE = Path(__file__).with_name("probes") / "map_weights.py"
# The probe reads a local folder; a model that lacks a file must fail there, not reach for the network.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class RuleKind(StrEnum):
    """How a rule of vLLM's ``WeightsMapper`` looks at a name. 0.24 called renaming ``renamings``."""

    RENAMING = "renaming"
    REGEX = "regex"
    SUBSTR = "substr"
    STACKED = "stacked"
    PREFIX = "prefix"
    SUFFIX = "suffix"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of a mapper. ``replacement`` None drops the weight; ``scope`` confines a renaming to one module.

    >>> print(Rule(kind=RuleKind.RENAMING, pattern="^vision_model", replacement="", scope="vision_tower"))
    renaming ^vision_model -> '' within vision_tower
    """

    kind: RuleKind
    pattern: str
    replacement: str | None
    scope: str | None = None

    def __str__(self) -> str:
        target = "(dropped)" if self.replacement is None else self.replacement or "''"
        return f"{self.kind} {self.pattern} -> {target}" + (f" within {self.scope}" if self.scope else "")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one rule did to a name; ``after`` None where it dropped the weight."""

    rule: Rule
    before: str
    after: str | None

    @property
    def changed(self) -> bool:
        """Whether the rule matched and made a difference."""
        return self.after != self.before


@dataclass(frozen=True, kw_only=True)
class WeightMap:
    """The answer of one pair of versions about one checkpoint.

    ``mapped`` holds vLLM's name for each key (None: dropped), ``expected`` the shape of each parameter and persistent
    buffer, ``aliases`` the second names of tied weights, ``rules`` the mapper's rules in the order in which this
    version applies them. ``loaded`` and ``load_error`` are what vLLM's own loader did with tensors that have a shape
    and no data. ``gaps`` names the keys whose trace does not lead to vLLM's own result: with any, trust no trace.
    """

    versions: VersionPair
    model_class: str
    mapped: Mapping[str, str | None]
    expected: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, str]
    rules: tuple[Rule, ...]
    traces: Mapping[str, tuple[Step, ...]]
    loaded: frozenset[str]
    load_error: str | None
    gaps: Mapping[str, str]

    def trace(self, key: str) -> tuple[Step, ...]:
        """Every rule that looked at the key, in order. Raises `EngineError` where the trace is not to be trusted."""
        if key in self.gaps:
            raise EngineError(
                f"The trace of {key} under {self.versions.label} does not lead to vLLM's own name: {self.gaps[key]}.",
                hint="This version walks over its rules in a way that triage does not know; report it.",
            )
        if key not in self.traces:
            raise EngineError(f"{key} was not traced.", hint="Name it in `trace` when the weights are mapped.")
        return self.traces[key]


def map_weights(
    model: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    *,
    versions: VersionPair,
    trace: Sequence[str] = (),
    timeout_s: float = 300.0,
) -> WeightMap:
    """Has a pair of versions map and load a checkpoint's tensors, given by key as (dtype, shape), without their data.

    The model's class comes from ``model/config.json``. The keys are mapped in the order given, as some renamings of
    Transformers remember what they have seen. Works for vLLM's Transformers backend, from vLLM 0.21 on.

    Raises `EngineError` when the pair cannot build the model, cannot be asked, or takes longer than ``timeout_s``.
    Upstream: ``vllm/model_executor/models/transformers/base.py``, ``_create_hf_to_vllm_mapper`` and ``load_weights``.

    ::

        map_weights(folder, {"lm_head.weight": ("F32", (263, 64))}, versions=find_versions()).mapped
    """
    check_model_folder(model)
    request = {
        "folder": str(model),
        "tensors": [[key, dtype, list(shape)] for key, (dtype, shape) in tensors.items()],
        "trace": list(trace),
    }
    # A file, not a module of triage: what triage requires need not fit beside another Transformers.
    answer = ask_process(
        [sys.executable, "-P", str(_PROBE)],
        request,
        env=versions.environment(_OFFLINE),
        timeout_s=timeout_s,
        subject=f"{versions.label}, asked to map the weights,",
        hint="The two versions may not fit together, or not know this model: try another pair.",
    )
    _check_origin(answer, versions)
    return WeightMap(
        versions=versions,
        model_class=answer["model_class"],
        mapped=answer["mapped"],
        expected={name: tuple(shape) for name, shape in answer["expected"].items()},
        aliases=answer["aliases"],
        rules=tuple(map(_read_rule, answer["rules"])),
        traces={key: tuple(map(_read_step, notes)) for key, notes in answer["traces"].items()},
        loaded=frozenset(answer["loaded"]),
        load_error=answer["load_error"],
        gaps=answer["gaps"],
    )


def _check_origin(answer: Mapping[str, Any], versions: VersionPair) -> None:
    """The answer must come from the folders that were to be asked: an editable install can come before PYTHONPATH."""
    for folder in versions.folders:
        package = "vllm" if (folder / "vllm").is_dir() else "transformers"
        origin = Path(answer[f"{package}_file"])
        if not origin.is_relative_to(folder):
            raise EngineError(
                f"{package} was to come from {folder}, but Python took {origin}.",
                hint=f"An editable install of {package} hides it: use a Python without one.",
            )


def _read_rule(note: Mapping[str, Any]) -> Rule:
    return Rule(
        kind=RuleKind(note["kind"].removesuffix("s") if note["kind"] == "renamings" else note["kind"]),
        pattern=note["pattern"],
        replacement=note["replacement"],
        scope=note["scope"],
    )


def _read_step(note: Mapping[str, Any]) -> Step:
    return Step(rule=_read_rule(note), before=note["before"], after=None if note["dropped"] else note["after"])
