"""What one pair of vLLM and Transformers makes of a checkpoint's keys: its own mapper, its own loader, no weights."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from triage.engine._probe import ask_process
from triage.engine.history import VersionPair
from triage.engine.models import check_model_folder
from triage.errors import EngineError

_PROBES = Path(__file__).with_name("probes")
# The probe reads a local folder; a model that lacks a file must fail there, not reach for the network.
_MAX_WORDS = 400
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class ModelImpl(StrEnum):
    """Whose implementation is asked, as in vLLM's ``--model-impl``; ``auto`` leaves the choice to vLLM."""

    AUTO = "auto"
    VLLM = "vllm"
    TRANSFORMERS = "transformers"


class Fate(StrEnum):
    """What vLLM's own loader does with a key. It puts it into a parameter, drops it, or refuses its name or shape."""

    MATCHED = "matched"
    IGNORED = "ignored"
    UNEXPECTED = "unexpected"
    MISMATCHED = "mismatched"


class RuleKind(StrEnum):
    """How a rule of vLLM's ``WeightsMapper`` looks at a name. 0.24 called renaming ``renamings``.

    ``loader`` is no rule of the mapper: it is what the model's own ``load_weights`` does with a name afterwards.
    """

    RENAMING = "renaming"
    REGEX = "regex"
    SUBSTR = "substr"
    STACKED = "stacked"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    LOADER = "loader"


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
class End:
    """Where a key ends: its fate, the model's name for it (None: none), and for a mismatch the shape of the place."""

    fate: Fate
    name: str | None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class WeightMap:
    """The answer of one pair of versions about one checkpoint.

    ``mapped`` holds vLLM's name for each key (None: dropped), ``expected`` the shape of each parameter and persistent
    buffer, ``aliases`` the second names of tied weights, ``rules`` the mapper's rules in the order in which this
    version applies them. ``ends`` is what vLLM's own loader did with each key, given tensors that have a shape and no
    data; ``missing`` what was not filled, by name and shape: a parameter, or a key that fills a part of a fused one in
    another layer. ``partial`` says how much of each such fused parameter is filled. ``loaded`` and ``load_error`` are
    what the loader returned and the first thing that it raised. ``gaps`` names the keys whose trace does not lead to
    vLLM's own result: with any, trust no trace.

    ``implementation`` is whose code was asked, and ``reason`` why. ``stand_in`` says that the Transformers backend was
    asked with Transformers' own layers, before vLLM fuses some: the keys are the same, the parameters are finer.
    ``stems`` is what the mapper's renames make of each key, before anything is fused: the name that an unexpected key
    has in ``ends``, and what a rule behind those renames would look at. A key that the mapper drops has none.
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
    ends: Mapping[str, End] = field(default_factory=dict)
    missing: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    partial: Mapping[str, str] = field(default_factory=dict)
    implementation: ModelImpl = ModelImpl.TRANSFORMERS
    reason: str = "as asked for"
    stand_in: bool = False
    stems: Mapping[str, str] = field(default_factory=dict)

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


@dataclass(frozen=True, kw_only=True)
class WeightRequest:
    """One checkpoint to be mapped: the folder with the ``config.json``, the tensors by key as (dtype, shape).

    The keys are mapped in the order given, as some renamings of Transformers remember what they have seen. ``trace``
    names the keys to follow rule by rule. ``renames`` gives keys another stem (None drops the key): the name behind the
    mapper's own renames, where a rule that is added to them takes effect.
    """

    model: Path
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    model_impl: ModelImpl = ModelImpl.TRANSFORMERS
    trace: Sequence[str] = ()
    renames: Mapping[str, str | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What the probe reads."""
        return {
            "folder": str(self.model),
            "model_impl": self.model_impl.value,
            "tensors": [[key, dtype, list(shape)] for key, (dtype, shape) in self.tensors.items()],
            "trace": list(self.trace),
            "renames": dict(self.renames),
        }


def map_weights(
    model: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    *,
    versions: VersionPair,
    model_impl: ModelImpl = ModelImpl.TRANSFORMERS,
    trace: Sequence[str] = (),
    timeout_s: float = 300.0,
) -> WeightMap:
    """Has a pair of versions map and load a checkpoint's tensors, given by key as (dtype, shape), without their data.

    As `map_many_weights` for one checkpoint. Works from vLLM 0.21 on, for its own implementations and its Transformers
    backend. Raises `EngineError` when the pair cannot build the model, cannot be asked, or takes longer than
    ``timeout_s``. Upstream: ``load_weights`` and ``hf_to_vllm_mapper`` in ``vllm/model_executor/models``.

    ::

        map_weights(folder, {"lm_head.weight": ("F32", (263, 64))}, versions=find_versions()).mapped
    """
    request = WeightRequest(model=model, tensors=tensors, model_impl=model_impl, trace=trace)
    (answer,) = map_many_weights([request], versions=versions, timeout_s=timeout_s)
    if isinstance(answer, EngineError):
        raise answer
    return answer


def map_many_weights(
    requests: Sequence[WeightRequest], *, versions: VersionPair, timeout_s: float = 300.0
) -> list[WeightMap | EngineError]:
    """Has one process answer several requests; one that the pair cannot answer gives the error in its place.

    Raises `EngineError` where the whole process fails, and `CheckpointError` for a folder that is no model.
    """
    for request in requests:
        check_model_folder(request.model)
    env = versions.environment(_OFFLINE)
    # Last, and not triage's own root: what triage requires need not fit beside another Transformers.
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [env["PYTHONPATH"], str(_PROBES)]))
    answer = ask_process(
        [sys.executable, "-P", "-m", "weights_probe"],
        {"jobs": [request.to_json() for request in requests]},
        env=env,
        timeout_s=timeout_s,
        subject=f"{versions.label}, asked to map the weights,",
        hint="The two versions may not fit together, or not know this model: try another pair.",
    )
    _check_origin(answer, versions)
    return [
        _read_answer(one, versions)
        if "error" not in one
        else EngineError(
            f"{versions.label} {_shorten(one['error'])}.",
            hint=f"Another --model-impl than {request.model_impl} may do, or another pair of versions.",
        )
        for request, one in zip(requests, answer["answers"], strict=True)
    ]


def _shorten(words: str) -> str:
    """An error's words as one line that can be read."""
    line = " ".join(words.split()).rstrip(".")
    return line if len(line) <= _MAX_WORDS else line[: _MAX_WORDS - 1] + "…"


def _read_answer(answer: Mapping[str, Any], versions: VersionPair) -> WeightMap:
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
        ends={
            key: End(fate=Fate(fate), name=name, shape=None if shape is None else tuple(shape))
            for key, (fate, name, shape) in answer["fates"].items()
        },
        missing={name: tuple(shape) for name, shape in answer["missing"].items()},
        partial=answer["partial"],
        implementation=ModelImpl(answer["implementation"]),
        reason=answer["reason"],
        stand_in=answer["stand_in"],
        stems=answer["stems"],
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
