"""What `triage keys` answers, as data and as sentences."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triage.checkpoints._compare import KeyDiff
from triage.checkpoints._confirm import EngineStart
from triage.checkpoints._fold import FoldedKeys, fold_keys
from triage.checkpoints._headers import Headers
from triage.checkpoints._impact import Effect
from triage.checkpoints._infer import Inference
from triage.checkpoints._model import ModelDiff
from triage.checkpoints._proposal import Proposal
from triage.checkpoints._retry import TriedRule
from triage.checkpoints._rules import write_mapper, write_rule

if TYPE_CHECKING:
    import pandas as pd

_MOST_LINES = 24
_SHOWN = 3
_LOADER_LIST = " The available parameters belonging to"  # a line of hundreds of names; the lines above say it folded


@dataclass(frozen=True, kw_only=True)
class TracedKey:
    """A key, each rule that looked at it, and why the key ends where it does.

    A step is (rule, name before, name after; None where it was dropped).
    """

    key: str
    steps: tuple[tuple[str, str, str | None], ...]
    end: str


@dataclass(frozen=True, kw_only=True)
class KeysAnswer:
    """A checkpoint's tensors; with something to compare with, what becomes of each key, and what would mend it.

    ``against`` names what the checkpoint was compared with, None where it was only read. ``tried`` are the rules that
    were asked about; the diff is the one with them. ``inference`` holds the rules that were found for what is left,
    ``checked`` what they do one after the other, and ``mended`` the diff with all of them: by vLLM's own loader where a
    model was asked. ``impact`` is what the rules do to other models, None where that was not asked.
    """

    checkpoint: Path
    headers: Headers
    against: str | None = None
    diff: KeyDiff | None = None
    tried: tuple[TriedRule, ...] = ()
    inference: Inference | None = None
    checked: tuple[TriedRule, ...] = ()
    mended: KeyDiff | None = None
    traced: tuple[TracedKey, ...] = ()
    model: ModelDiff | None = None
    impact: pd.DataFrame | None = None
    proposal: Proposal | None = None
    engine: EngineStart | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def conclusive(self) -> bool:
        """Whether the answer decides; an engine that did not start for another reason than its keys does not."""
        return self.engine is None or self.engine.answered or self.engine.refused_keys

    def fold(self) -> list[tuple[str, FoldedKeys]]:
        """The keys for reading: (what becomes of them, a line). Those that match are only counted."""
        if self.diff is None:
            return [("", line) for line in fold_keys(self.headers.tensors, max_lines=_MOST_LINES)]
        return [(status.value, line) for status, line in self.diff.fold(max_lines=_MOST_LINES)]

    def to_json(self) -> dict[str, Any]:
        """The contract of ``triage keys --json``. What was not compared is null."""
        answer: dict[str, Any] = {
            "checkpoint": str(self.checkpoint),
            "tensors": len(self.headers.tensors),
            "bytes": self.headers.bytes,
            "shards": len(self.headers.shards),
            "dtypes": dict(Counter(tensor.dtype for tensor in self.headers.tensors.values()).most_common()),
            "against": self.against,
            **_show_diff(self.diff),
            "suggested_rules": self._show_suggestions(),
            "rules": [_show_rule(rule) for rule in self.tried],
            "trace": [
                {"key": traced.key, "rule": rule, "before": before, "after": after}
                for traced in self.traced
                for rule, before, after in traced.steps
            ],
            "ends": {traced.key: traced.end for traced in self.traced},
            "notes": list(self.notes),
        }
        if self.mended:
            answer["with_suggested_rules"] = {str(name): count for name, count in self.mended.counts.items()}
        if self.model:
            weights = self.model.weights
            answer["model"] = {
                "class": weights.model_class,
                "implementation": weights.implementation.value,
                "reason": weights.reason,
                "vllm": weights.versions.vllm,
                "transformers": weights.versions.transformers,
                "load_error": weights.load_error,
                "partly_filled": dict(weights.partial),
            }
        if self.impact is not None:
            answer["impact"] = self.impact.to_dict("records")
        if self.proposal:
            answer["proposal"] = {
                "place": self.proposal.place.value,
                "file": self.proposal.file,
                "reason": self.proposal.reason,
                "text": self.proposal.text,
            }
        if self.engine:
            answer["confirmed"] = {
                "answered": self.engine.answered,
                "refused_keys": self.engine.refused_keys,
                "error": self.engine.error,
                "startup_s": self.engine.startup_s,
            }
        return answer

    def _show_suggestions(self) -> list[dict[str, Any]] | None:
        """As they were checked; where they were not, by what their names and shapes promise."""
        if self.inference is None:
            return None
        found = self.inference.rules
        notes = [{"note": rule.note} if rule.note else {} for rule in found]
        return [_show_rule(rule) | note for rule, note in zip(self.checked or found, notes, strict=True)]


def _show_diff(diff: KeyDiff | None) -> dict[str, Any]:
    if diff is None:
        names = ("matched", "missing_keys", "unexpected_keys", "mismatched_keys", "ignored_keys")
        return dict.fromkeys(names)
    return {
        "matched": len(diff.matched),
        "missing_keys": list(diff.missing),
        "unexpected_keys": list(diff.unexpected),
        "mismatched_keys": [
            {"key": m.key, "checkpoint_shape": list(m.checkpoint_shape), "model_shape": list(m.model_shape)}
            for m in diff.mismatched
        ],
        "ignored_keys": list(diff.ignored),
    }


def _show_rule(found: Any) -> dict[str, Any]:
    """A rule with how many keys it fixes and breaks, and which. Given back as ``--rule`` it does the same."""
    return {
        "kind": found.rule.kind.value,
        "pattern": found.rule.pattern,
        "replacement": found.rule.replacement,
        "mapper": write_mapper(found.rule),
        "fixes": len(found.fixes),
        "breaks": len(found.breaks),
        "fixed_keys": dict(found.fixes),
        "broken_keys": list(found.breaks),
    }


def list_sentences(answer: KeysAnswer) -> Iterator[str]:
    """What a reader is told below the lines: rules, traces, a patch, the engine's word, notes."""
    if answer.model and answer.model.weights.load_error:
        without = " without the rules" if answer.tried else ""
        yield f"vLLM's own loader says{without}: {answer.model.weights.load_error.partition(_LOADER_LIST)[0]}"
    for tried in answer.tried:
        yield f"Rule {write_rule(tried.rule)}: {_count_effects(tried)}."
    yield from _describe_inference(answer)
    for traced in answer.traced:
        rules = "rule" if len(traced.steps) == 1 else "rules"
        yield f"Trace of {traced.key}: {len(traced.steps)} {rules} looked at it."
        for number, (rule, before, after) in enumerate(traced.steps, start=1):
            yield f"  {number}. {rule}: " + ("unchanged" if before == after else f"{before} -> {after or '(dropped)'}")
        yield traced.end
    yield from _describe_impact(answer.impact)
    if answer.proposal:
        yield answer.proposal.reason
        yield from answer.proposal.text.splitlines()
    if answer.engine:
        word = "loaded it and answered" if answer.engine.answered else f"did not answer: {answer.engine.error}"
        yield f"A real engine {word}."
    yield from answer.notes


def _describe_inference(answer: KeysAnswer) -> Iterator[str]:
    inference = answer.inference
    if not (inference and answer.diff and (answer.diff.unexpected or inference.rules or inference.ambiguous)):
        return
    yield inference.describe()
    for found in answer.checked or inference.rules:
        yield f"Suggested: --rule {shlex.quote(write_rule(found.rule))} {_count_effects(found)}."
    if answer.mended:
        who = "With that, vLLM's own loader says" if answer.model else "With that"
        yield f"{who}: {answer.mended.describe()}."


def _describe_impact(impact: pd.DataFrame | None) -> Iterator[str]:
    if impact is None:
        return
    built = impact[impact["verdict"] != Effect.NOT_BUILT.value]
    yield f"In the mapper of vLLM's Transformers backend, tried on {len(built)} vision-language architectures:"
    for effect in (Effect.BROKEN, Effect.FIXED, Effect.RENAMED):
        rows = built[built["verdict"] == effect.value]
        if len(rows):
            names = ", ".join(rows["architecture"])
            yield f"  {effect.value}: {len(rows)} ({names}), as in {rows['example'].iloc[0]}"
    untouched = int((built["verdict"] == Effect.UNTOUCHED.value).sum())
    yield f"  {Effect.UNTOUCHED.value}: {untouched}; {len(impact) - len(built)} could not be built"


def _count_effects(found: Any) -> str:
    broken = ", ".join(found.breaks[:_SHOWN])
    return f"fixes {len(found.fixes)}, " + (f"breaks {len(found.breaks)}: {broken}" if broken else "breaks none")
