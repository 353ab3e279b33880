"""Sets a checkpoint's keys beside what takes them: another checkpoint, or a model under a pair of versions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from triage.checkpoints._headers import read_headers
from triage.engine.history import VersionPair
from triage.engine.weights import (
    End,
    Fate,
    ModelImpl,
    RuleKind,
    Step,
    WeightMap,
    WeightRequest,
    map_many_weights,
)
from triage.errors import EngineError, InputError

if TYPE_CHECKING:
    import pandas as pd

_LAYER = re.compile(r"(?<=\.)\d+(?=\.|$)")


class KeyStatus(StrEnum):
    """What becomes of a key. As in ``load_state_dict``: missing is wanted and not there, unexpected the reverse."""

    MATCHED = "matched"
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    MISMATCHED = "mismatched"
    IGNORED = "ignored"


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A tensor whose name fits and whose shape does not; ``name`` is what it is loaded under."""

    key: str
    checkpoint_shape: tuple[int, ...]
    model_shape: tuple[int, ...]
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class KeyDiff:
    """The keys of a checkpoint by what becomes of them.

    ``matched``, ``unexpected`` and ``ignored`` lead from the checkpoint's key to the name it is loaded under (None:
    dropped); ``missing`` holds names of the model.
    """

    matched: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: Mapping[str, str]
    mismatched: tuple[Mismatch, ...]
    ignored: Mapping[str, str | None]

    @property
    def whole(self) -> bool:
        """Whether every tensor has its place and every place its tensor."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def counts(self) -> dict[KeyStatus, int]:
        """How many keys have each status.

        >>> compare_keys({"a": (1,), "b": (1,)}, {"a": (1,)}).counts[KeyStatus.UNEXPECTED]
        1
        """
        return {status: len(getattr(self, status.value)) for status in KeyStatus}

    def fold(self) -> pd.DataFrame:
        """One row for each kind of key and status, layers folded: ``status``, ``keys``, ``loaded_as``, ``count``."""
        import pandas as pd

        rows = [
            *((KeyStatus.UNEXPECTED, key, name) for key, name in self.unexpected.items()),
            *((KeyStatus.MISSING, "", name) for name in self.missing),
            *((KeyStatus.MISMATCHED, entry.key, None) for entry in self.mismatched),
            *((KeyStatus.IGNORED, key, name) for key, name in self.ignored.items()),
            *((KeyStatus.MATCHED, key, name) for key, name in self.matched.items()),
        ]
        groups: dict[tuple[KeyStatus, str, str], list[tuple[str, str]]] = defaultdict(list)
        for status, key, name in rows:
            groups[status, _LAYER.sub("*", key), _LAYER.sub("*", name or "")].append((key, name or ""))
        return pd.DataFrame(
            [
                (status.value, fold_layers(key for key, _ in pairs)[0], fold_layers(n for _, n in pairs)[0], len(pairs))
                for (status, _, _), pairs in groups.items()
            ],
            columns=["status", "keys", "loaded_as", "count"],
        )


@dataclass(frozen=True, kw_only=True)
class ModelDiff:
    """A checkpoint under one pair of versions: the diff of its keys, and vLLM's own map and loader behind it."""

    diff: KeyDiff
    weights: WeightMap

    @property
    def label(self) -> str:
        """The pair, as reports name it."""
        return self.weights.versions.label

    def describe(self) -> str:
        """How many keys have each status, in words."""
        return ", ".join(f"{count} {status}" for status, count in self.diff.counts.items() if count)


def fold_layers(keys: Iterable[str]) -> list[str]:
    """Keys with their layer numbers folded into ranges, each kind once, in order of appearance.

    >>> fold_layers(["layers.0.q", "layers.1.q", "layers.3.q", "norm"])
    ['layers.{0..1,3}.q', 'norm']
    """
    numbers: dict[str, list[set[int]]] = {}
    for key in keys:
        found = [int(number) for number in _LAYER.findall(key)]
        columns = numbers.setdefault(_LAYER.sub("*", key), [set() for _ in found])
        for column, number in zip(columns, found, strict=True):
            column.add(number)
    folded = []
    for pattern, columns in numbers.items():
        head, *rest = pattern.split("*")
        folded.append(head + "".join(_fold_numbers(column) + part for column, part in zip(columns, rest, strict=False)))
    return folded


def _fold_numbers(numbers: set[int]) -> str:
    if len(numbers) == 1:
        return str(*numbers)
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return "{" + ",".join(str(a) if a == b else f"{a}..{b}" for a, b in ranges) + "}"


def compare_keys(
    checkpoint: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    *,
    mapped: Mapping[str, str | None] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> KeyDiff:
    """Sets the shapes of a checkpoint, by key, beside the shapes that are expected, by name.

    ``mapped`` says under which name each key is loaded (None drops it; without it, under its own); ``aliases`` are
    second names of tied weights, which may be there and need not.

    >>> diff = compare_keys({"old.a": (2,), "b": (3,)}, {"new.a": (2,), "b": (4,)})
    >>> diff.missing, dict(diff.unexpected), diff.mismatched[0].model_shape
    (('new.a',), {'old.a': 'old.a'}, (4,))
    """
    matched: dict[str, str] = {}
    unexpected: dict[str, str] = {}
    ignored: dict[str, str | None] = {}
    mismatched: list[Mismatch] = []
    reached: set[str] = set()
    second_names = aliases or {}
    for key, shape in checkpoint.items():
        name = key if mapped is None else mapped[key]
        if name is None or name in second_names:
            ignored[key] = name
        elif name not in expected:
            unexpected[key] = name
        elif expected[name] != shape:
            mismatched.append(Mismatch(key=key, checkpoint_shape=shape, model_shape=expected[name], name=name))
            reached.add(name)
        else:
            matched[key] = name
            reached.add(name)
    return KeyDiff(
        matched=matched,
        missing=tuple(name for name in expected if name not in reached),
        unexpected=unexpected,
        mismatched=tuple(mismatched),
        ignored=ignored,
    )


def compare_with_model(
    checkpoint: Path,
    *,
    versions: VersionPair,
    model: Path | None = None,
    model_impl: ModelImpl = ModelImpl.TRANSFORMERS,
    trace: Sequence[str] = (),
) -> ModelDiff:
    """Sets a checkpoint beside what its model expects under a pair of versions, as that vLLM's own loader takes it.

    ``model`` is the folder with the ``config.json``; without it, the checkpoint's own. ``model_impl`` is whose
    implementation is asked. ``trace`` names the keys to follow rule by rule. Raises `CheckpointError` for a broken
    checkpoint and `EngineError` where the pair cannot say.
    """
    request = request_weights(checkpoint, model=model, model_impl=model_impl, trace=trace)
    (answer,) = map_many_weights([request], versions=versions)
    if isinstance(answer, EngineError):
        raise answer
    return ModelDiff(diff=sort_ends(request, answer), weights=answer)


def read_model_impl(text: str) -> ModelImpl:
    """The implementation of this name. Raises `InputError`.

    >>> read_model_impl("vllm").value
    'vllm'
    """
    try:
        return ModelImpl(text)
    except ValueError:
        raise InputError(f"--model-impl does not know {text!r}.", hint=f"Say {', '.join(ModelImpl)}.") from None


def request_weights(
    checkpoint: Path,
    *,
    model: Path | None = None,
    model_impl: ModelImpl = ModelImpl.TRANSFORMERS,
    trace: Sequence[str] = (),
) -> WeightRequest:
    """What vLLM is to be asked about a checkpoint. Raises `CheckpointError`."""
    tensors = read_headers(checkpoint).tensors
    return WeightRequest(
        model=model or (checkpoint if checkpoint.is_dir() else checkpoint.parent),
        tensors={key: (tensor.dtype, tensor.shape) for key, tensor in tensors.items()},
        model_impl=model_impl,
        trace=trace,
    )


def sort_ends(request: WeightRequest, weights: WeightMap) -> KeyDiff:
    """The keys by what vLLM's own loader did with them."""
    by_fate: dict[Fate, dict[str, End]] = {fate: {} for fate in Fate}
    for key, end in weights.ends.items():
        by_fate[end.fate][key] = end
    return KeyDiff(
        matched={key: end.name or key for key, end in by_fate[Fate.MATCHED].items()},
        missing=tuple(weights.missing),
        unexpected={key: end.name or key for key, end in by_fate[Fate.UNEXPECTED].items()},
        mismatched=tuple(
            Mismatch(
                key=key,
                checkpoint_shape=request.tensors[key][1],
                model_shape=end.shape or (),
                name=end.name or key,
            )
            for key, end in by_fate[Fate.MISMATCHED].items()
        ),
        ignored={key: end.name for key, end in by_fate[Fate.IGNORED].items()},
    )


def explain_key(compared: ModelDiff, key: str) -> pd.DataFrame:
    """Every rule that looked at a key, in the order in which this version applies them.

    Columns: ``step`` (from 1), ``kind``, ``rule`` (``pattern -> replacement``), ``before``, ``after`` (None: dropped),
    ``changed``. Raises `EngineError` where the trace does not lead to vLLM's own result.
    """
    import pandas as pd

    rows = [
        (number, step.rule.kind.value, str(step.rule).partition(" ")[2], step.before, step.after, step.changed)
        for number, step in enumerate(compared.weights.trace(key), start=1)
    ]
    return pd.DataFrame(rows, columns=["step", "kind", "rule", "before", "after", "changed"])


def explain_end(compared: ModelDiff, key: str) -> str:
    """Why a key ended where it did, in one sentence, from its trace alone.

    For a key that reaches no parameter it names a rule that would have matched the key as the checkpoint holds it, had
    an earlier rule not renamed it, or that would have matched what follows one of its modules.
    Raises `EngineError` where the trace does not lead to vLLM's own result.
    """
    steps = compared.weights.trace(key)
    end = steps[-1].after if steps else key
    changes = [(number, step) for number, step in enumerate(steps, start=1) if step.changed]
    if end is None:
        return f"{key} is dropped by rule {changes[-1][0]} (`{changes[-1][1].rule}`)."
    if end in compared.weights.expected:
        through = ", ".join(f"{number} (`{step.rule}`)" for number, step in changes)
        return f"{key} ends as the parameter {end}" + (f", through rules {through}." if through else ", unchanged.")
    sentence = f"{key} ends as {end}, which no parameter is called"
    for number, step in enumerate(steps, start=1):
        if step.before != key and not step.changed and _matches(step, key):
            first = f"rule {changes[0][0]} (`{changes[0][1].rule}`)"
            return (
                f"{sentence}: rule {number} (`{step.rule}`) would {_foretell(step, key)}, but {first} renames it first."
            )
    for number, step in enumerate(steps, start=1):
        if module := _find_module(step, key):
            return f"{sentence}: rule {number} (`{step.rule}`) would match what follows `{module}`, not the whole name."
    return f"{sentence}; of {len(steps)} rules, {len(changes)} changed it."


def _foretell(step: Step, key: str) -> str:
    """What the rule would do to the key, by the pattern that the mapper really holds."""
    if step.rule.kind is not RuleKind.REGEX or step.rule.replacement is None:
        return "match it"
    return f"make it {re.sub(step.rule.pattern, step.rule.replacement, key)}"


def _find_module(step: Step, key: str) -> str | None:
    """The module after which the rule would match, where it left the key alone: a scope that was not applied."""
    if step.changed or _matches(step, key):
        return None
    parts = key.split(".")
    heads = (".".join(parts[:depth]) + "." for depth in range(1, len(parts)))
    return next((head for head in heads if _matches(step, key.removeprefix(head))), None)


def _matches(step: Step, key: str) -> bool:
    pattern = step.rule.pattern
    if step.rule.scope is not None or step.rule.kind is RuleKind.LOADER:
        return False  # whether it matches depends on the module, which only its own code knows
    if step.rule.kind in {RuleKind.REGEX, RuleKind.RENAMING}:
        try:
            return re.search(pattern, key) is not None
        except re.error as error:
            raise EngineError(f"The rule {pattern!r} is no regular expression: {error}.", hint="Report it.") from error
    if step.rule.kind is RuleKind.PREFIX:
        return key.startswith(pattern)
    return key.endswith(pattern) if step.rule.kind is RuleKind.SUFFIX else pattern in key
