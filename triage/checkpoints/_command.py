"""What `triage keys` answers: reading, comparing, trying rules, and the answer as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triage.checkpoints._compare import KeyDiff, ModelDiff, compare_keys, compare_with_model, explain_end
from triage.checkpoints._confirm import EngineStart, start_engine
from triage.checkpoints._fold import FoldedKeys, fold_keys
from triage.checkpoints._headers import Headers, read_headers
from triage.checkpoints._infer import Inference, infer_rules
from triage.checkpoints._layout import check_inside, find_checkpoint
from triage.checkpoints._retry import Shape, TriedRule, try_on_diff
from triage.checkpoints._rules import apply_rules, check_rules, parse_rule
from triage.engine.history import find_versions
from triage.engine.weights import ModelImpl, Rule
from triage.errors import InputError

_MOST_INFERRED = 20_000  # unexpected keys; beyond, a search would take minutes and one rule would show in fewer
_ENGINE_ARGS = ("--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "2")


@dataclass(frozen=True, kw_only=True)
class TracedKey:
    """A key, and each rule that looked at it: (rule, name before, name after; None where it was dropped)."""

    key: str
    steps: tuple[tuple[str, str, str | None], ...]


@dataclass(frozen=True, kw_only=True)
class KeysAnswer:
    """A checkpoint's tensors; with something to compare with, what becomes of each key, and what would mend it.

    ``against`` names what the checkpoint was compared with, None where it was only read. ``tried`` are the rules that
    were asked about; the diff is the one with them. ``inference`` holds the rules that were found for what is left.
    """

    checkpoint: Path
    headers: Headers
    against: str | None = None
    diff: KeyDiff | None = None
    tried: tuple[TriedRule, ...] = ()
    inference: Inference | None = None
    traced: tuple[TracedKey, ...] = ()
    model: ModelDiff | None = None
    engine: EngineStart | None = None
    notes: tuple[str, ...] = field(default=())

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
            "suggested_rules": None if self.inference is None else [_show_rule(rule) for rule in self.inference.rules],
            "rules": [_show_rule(rule) for rule in self.tried],
            "trace": [
                {"key": traced.key, "rule": rule, "before": before, "after": after}
                for traced in self.traced
                for rule, before, after in traced.steps
            ],
            "notes": list(self.notes),
        }
        if self.model:
            weights = self.model.weights
            answer["model"] = {
                "class": weights.model_class,
                "implementation": weights.implementation.value,
                "vllm": weights.versions.vllm,
                "transformers": weights.versions.transformers,
                "load_error": weights.load_error,
            }
        if self.engine:
            answer["confirmed"] = {
                "answered": self.engine.answered,
                "refused_keys": self.engine.refused_keys,
                "error": self.engine.error,
                "startup_s": self.engine.startup_s,
            }
        return answer

    @property
    def conclusive(self) -> bool:
        """Whether the answer decides; an engine that did not start for another reason than its keys does not."""
        return self.engine is None or self.engine.answered or self.engine.refused_keys

    def fold(self) -> list[tuple[str, FoldedKeys]]:
        """The keys for reading: (what becomes of them, a line). Those that match are only counted."""
        if self.diff is None:
            return [("", line) for line in fold_keys(self.headers.tensors, max_lines=24)]
        groups = {
            "missing": self.diff.missing,
            "unexpected": list(self.diff.unexpected),
            "mismatched": [entry.key for entry in self.diff.mismatched],
            "ignored": list(self.diff.ignored),
        }
        room = max(3, 24 // max(1, sum(bool(keys) for keys in groups.values())))
        return [(status, line) for status, keys in groups.items() for line in fold_keys(keys, max_lines=room)]


def answer_keys(
    checkpoint: str,
    *,
    against: str | None = None,
    model_impl: ModelImpl = ModelImpl.AUTO,
    rules: Sequence[str] = (),
    trace: Sequence[str] = (),
    confirm: bool = False,
) -> KeysAnswer:
    """Reads a checkpoint's headers and sets its keys beside ``against``, else beside its ``config.json``'s model.

    ``rules`` are ``PATTERN=REPLACEMENT`` and come behind vLLM's own; ``trace`` names keys of the checkpoint.
    ``confirm`` starts a real engine on it.

    Raises `CheckpointError` for a checkpoint that is not whole, `InputError` for a rule or a key that cannot be used,
    and `EngineError` where vLLM cannot say what the model expects.
    """
    asked = [parse_rule(text) for text in rules]
    check_rules(asked)
    path = find_checkpoint(checkpoint)
    headers = read_headers(path)
    _check_keys(trace, headers)
    folder = _find_model_folder(path)
    notes = tuple(
        f"{name} holds Mistral's own layout and does not count beside the others." for name in headers.skipped
    )
    if confirm and folder is None:
        raise InputError(f"--confirm starts an engine, and {path} has no config.json beside it.", hint="Leave it out.")
    common = {"checkpoint": path, "headers": headers, "notes": notes}
    if against is not None:
        wanted = read_headers(find_checkpoint(against)).shapes
        answer = _compare(common, against, compare_keys(headers.shapes, wanted), wanted, asked)
        names: Mapping[str, str | None] = {key: key for key in trace}
    elif folder is not None:
        compared = compare_with_model(path, versions=find_versions(), model=folder, model_impl=model_impl, trace=trace)
        weights = compared.weights
        expected = {**weights.expected, **weights.missing}
        title = f"{weights.model_class}, {weights.versions.label}"
        answer = _compare({**common, "model": compared}, title, compared.diff, expected, asked)
        names = {key: weights.mapped.get(key, key) for key in trace}
    else:
        answer = common
        names = {key: key for key in trace}
    traced = tuple(_trace(key, names[key], answer.get("model"), asked) for key in trace)
    engine = start_engine(folder, model_impl=model_impl, args=_ENGINE_ARGS) if confirm and folder else None
    return KeysAnswer(**answer, traced=traced, engine=engine)


def _find_model_folder(path: Path) -> Path | None:
    folder = path if path.is_dir() else path.parent
    if not (folder / "config.json").is_file():
        return None
    check_inside(folder, "config.json")
    return folder


def _check_keys(keys: Sequence[str], headers: Headers) -> None:
    for key in keys:
        if key not in headers.tensors:
            tail = key.rpartition(".")[2]
            near = next((name for name in headers.tensors if name.endswith(tail)), next(iter(headers.tensors), ""))
            raise InputError(f"The checkpoint holds no key {key!r}.", hint=f"One of its keys is {near}.")


def _compare(
    common: dict[str, Any], against: str, diff: KeyDiff, expected: Mapping[str, Shape], rules: Sequence[Rule]
) -> dict[str, Any]:
    shapes = common["headers"].shapes
    diff, tried = try_on_diff(diff, rules, shapes=shapes, expected=expected)
    found: dict[str, Any] = {"against": against, "diff": diff, "tried": tried}
    if len(diff.unexpected) > _MOST_INFERRED:
        note = f"No rule was looked for: {len(diff.unexpected)} keys are unexpected, and {_MOST_INFERRED} are the most."
        return common | found | {"notes": (*common["notes"], note), "inference": infer_rules({}, {})}
    inference = infer_rules(
        {name: shapes[key] for key, name in diff.unexpected.items()},
        {name: expected[name] for name in diff.missing if name in expected},
        known=diff.matched.values(),
    )
    return common | found | {"inference": inference}


def _trace(key: str, name: str | None, model: ModelDiff | None, rules: Sequence[Rule]) -> TracedKey:
    """vLLM's own rules first, then the engineer's."""
    steps: list[tuple[str, str, str | None]] = []
    if model:
        steps = [(str(step.rule), step.before, step.after) for step in model.weights.trace(key)]
    for rule in rules:
        if name is None:
            break
        before, name = name, apply_rules([name], [rule])[name]
        steps.append((str(rule), before, name))
    return TracedKey(key=key, steps=tuple(steps))


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
        "pattern": found.rule.pattern,
        "replacement": found.rule.replacement,
        "fixes": len(found.fixes),
        "breaks": len(found.breaks),
        "fixed_keys": dict(found.fixes),
        "broken_keys": list(found.breaks),
        **({"note": found.note} if getattr(found, "note", "") else {}),
    }


def list_sentences(answer: KeysAnswer) -> Iterator[str]:
    """What a reader is told below the lines: rules, traces, the engine's word, notes."""
    for tried in answer.tried:
        broken = f", breaks {len(tried.breaks)}: {', '.join(tried.breaks[:3])}" if tried.breaks else ", breaks none"
        yield f"Rule {tried.rule.pattern}={tried.rule.replacement}: fixes {len(tried.fixes)}{broken}."
    if answer.inference and answer.diff and answer.diff.unexpected:
        yield answer.inference.describe()
        for found in answer.inference.rules:
            harm = f", breaks {len(found.breaks)}" if found.breaks else ""
            yield f"Suggested: --rule '{found.rule.pattern}={found.rule.replacement}' fixes {len(found.fixes)}{harm}."
    for traced in answer.traced:
        yield f"Trace of {traced.key}: {len(traced.steps)} rules looked at it."
        for number, (rule, before, after) in enumerate(traced.steps, start=1):
            yield f"  {number}. {rule}: " + ("unchanged" if before == after else f"{before} -> {after or '(dropped)'}")
        if answer.model:
            yield explain_end(answer.model, traced.key)
    if answer.model and answer.model.weights.load_error:
        yield f"vLLM's own loader says: {answer.model.weights.load_error}"
    if answer.engine:
        word = "loaded it and answered" if answer.engine.answered else f"did not answer: {answer.engine.error}"
        yield f"A real engine {word}."
    yield from answer.notes
