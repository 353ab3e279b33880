"""What `triage keys` does: it reads, compares, tries rules, and looks for the one that is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from triage.checkpoints._answer import KeysAnswer, TracedKey
from triage.checkpoints._compare import KeyDiff, compare_keys
from triage.checkpoints._confirm import start_engine
from triage.checkpoints._edits import Shape, fold_names
from triage.checkpoints._explain import explain_end, explain_fate
from triage.checkpoints._headers import Headers, read_headers
from triage.checkpoints._impact import try_rules
from triage.checkpoints._infer import Inference
from triage.checkpoints._layout import check_inside, find_checkpoint
from triage.checkpoints._model import ModelDiff, compare_with_model
from triage.checkpoints._refuse import quote
from triage.checkpoints._retry import try_on_diff, try_on_model
from triage.checkpoints._rules import apply_rules, check_rules, parse_rule
from triage.checkpoints._suggest import infer_diff_rules, infer_model_rules, propose_model_patch
from triage.engine.architectures import Placement
from triage.engine.history import find_versions
from triage.engine.weights import ModelImpl, Rule, RuleKind
from triage.errors import InputError

_MOST_KINDS = 3_000  # kinds of unexpected keys, layers folded; beyond, a search would take minutes
_MOST_CHECKED = 8  # suggested rules about which vLLM's own loader is asked, each in turn
_ALL = "all"
_FUSING = {RuleKind.STACKED, RuleKind.LOADER}
_ENGINE_ARGS = ("--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "2")


def answer_keys(
    checkpoint: str,
    *,
    against: str | None = None,
    model_impl: ModelImpl = ModelImpl.AUTO,
    rules: Sequence[str] = (),
    trace: Sequence[str] = (),
    impact: str | None = None,
    confirm: bool = False,
) -> KeysAnswer:
    """Reads a checkpoint's headers and sets its keys beside ``against``, else beside its ``config.json``'s model.

    ``rules`` are as `parse_rule` takes them and come behind vLLM's own renames; ``trace`` names keys of the checkpoint.
    ``impact`` names model types with commas between, or is ``all``: the rules, else those that are suggested, are tried
    on these vision-language architectures. ``confirm`` starts a real engine on the checkpoint.

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
    answer = KeysAnswer(checkpoint=path, headers=headers, notes=notes)
    if against is not None:
        answer = _compare_checkpoints(answer, against, asked, trace)
    elif folder is not None:
        compared = compare_with_model(path, versions=find_versions(), model=folder, model_impl=model_impl, trace=trace)
        answer = _compare_model(answer, compared, asked, trace)
    suggested = [found.rule for found in answer.inference.rules] if answer.inference else []
    if impact is not None:
        if not (asked or suggested):
            raise InputError("--impact has no rule to try: none was given and none was found.", hint="Give a --rule.")
        names = None if impact.strip() == _ALL else [name.strip() for name in impact.split(",") if name.strip()]
        frame = try_rules(asked or suggested, architectures=names, placement=Placement.LAST)
        answer = replace(answer, impact=frame)
    effects = (*answer.tried, *answer.checked)
    if answer.model and any(rule.fixes for rule in effects) and not any(rule.breaks for rule in effects):
        patch = propose_model_patch(answer.model, [*asked, *suggested], impact=answer.impact)
        answer = replace(answer, proposal=patch)
    if confirm and folder:
        answer = replace(answer, engine=start_engine(folder, model_impl=model_impl, args=_ENGINE_ARGS))
    return answer


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
            raise InputError(f"The checkpoint holds no key {quote(key)}.", hint=f"One of its keys is {quote(near)}.")


def _compare_checkpoints(answer: KeysAnswer, against: str, rules: Sequence[Rule], trace: Sequence[str]) -> KeysAnswer:
    """Another checkpoint plays the model."""
    shapes = answer.headers.shapes
    expected = read_headers(find_checkpoint(against)).shapes
    diff, tried = try_on_diff(compare_keys(shapes, expected), rules, shapes=shapes, expected=expected)
    names = {**diff.matched, **diff.unexpected, **{entry.key: entry.name for entry in diff.mismatched}}
    answer = replace(answer, against=against, diff=diff, tried=tried)
    if _has_too_many_kinds(diff, names):
        answer = replace(answer, inference=_leave_all(diff), notes=(*answer.notes, _TOO_MANY))
    else:
        inference = infer_diff_rules(diff, names=names, shapes=shapes, expected=expected)
        found = [suggested.rule for suggested in inference.rules]
        mended, checked = try_on_diff(diff, found, shapes=shapes, expected=expected)
        answer = replace(answer, inference=inference, checked=checked, mended=mended if found else None)
    traced = tuple(_trace(key, key, (), rules, explain_fate(diff, key)) for key in trace)
    return replace(answer, traced=traced)


def _compare_model(answer: KeysAnswer, compared: ModelDiff, rules: Sequence[Rule], trace: Sequence[str]) -> KeysAnswer:
    """vLLM's own loader is asked, once more with the rules and once more with those that are suggested."""
    weights = compared.weights
    after, tried = try_on_model(compared, rules)
    answer = replace(
        answer,
        against=f"{weights.model_class}, {weights.versions.label}",
        model=compared,
        diff=after.diff,
        tried=tried,
    )
    if _has_too_many_kinds(after.diff, after.weights.stems):
        answer = replace(answer, inference=_leave_all(after.diff), notes=(*answer.notes, _TOO_MANY))
    else:
        inference = infer_model_rules(after)
        found = [suggested.rule for suggested in inference.rules]
        answer = replace(answer, inference=inference)
        if 0 < len(found) <= _MOST_CHECKED:
            mended, checked = try_on_model(after, found)
            answer = replace(answer, checked=checked, mended=mended.diff)
    traced = []
    for key in trace:
        steps = weights.trace(key)
        if rules:  # which come before a name is fused
            steps = tuple(takewhile(lambda step: step.rule.kind not in _FUSING or not step.changed, steps))
        own = [(str(step.rule), step.before, step.after) for step in steps]
        end = explain_fate(after.diff, key) if rules else explain_end(compared, key)
        traced.append(_trace(key, weights.stems.get(key), own, rules, end))
    return replace(answer, traced=tuple(traced))


_TOO_MANY = f"No rule was looked for: more than {_MOST_KINDS} kinds of keys are unexpected."


def _has_too_many_kinds(diff: KeyDiff, names: Mapping[str, str]) -> bool:
    shapes: dict[str, Shape] = {names[key]: () for key in diff.unexpected}
    return len(shapes) > _MOST_KINDS and len(fold_names(shapes)) > _MOST_KINDS


def _leave_all(diff: KeyDiff) -> Inference:
    return Inference(rules=(), ambiguous={}, unexplained=tuple(diff.unexpected))


def _trace(
    key: str,
    name: str | None,
    steps: Sequence[tuple[str, str, str | None]],
    rules: Sequence[Rule],
    end: str,
) -> TracedKey:
    """vLLM's own rules first, then the engineer's."""
    traced = list(steps)
    for rule in rules:
        if name is None:
            break
        before, name = name, apply_rules([name], [rule])[name]
        traced.append((str(rule), before, name))
    return TracedKey(key=key, steps=tuple(traced), end=end)
