"""What an engineer's rules would do to a diff: which keys they bring to their place, and which they take from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from triage.checkpoints._compare import KeyDiff, Mismatch
from triage.checkpoints._model import ModelDiff, judge_ends
from triage.checkpoints._rules import apply_rules
from triage.engine.weights import Rule, map_many_weights
from triage.errors import EngineError

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TriedRule:
    """A rule, the keys that it brings to a free name of their shape, and those that it takes from theirs.

    ``fixes`` leads from keys to names; ``breaks`` also names keys that were left out on purpose and are refused now.
    """

    rule: Rule
    fixes: Mapping[str, str]
    breaks: tuple[str, ...]


def try_on_diff(
    diff: KeyDiff, rules: Sequence[Rule], *, shapes: Mapping[str, Shape], expected: Mapping[str, Shape]
) -> tuple[KeyDiff, tuple[TriedRule, ...]]:
    """The diff with the rules behind all others, and what each rule did, one after the other.

    ``shapes`` are the checkpoint's, by key; ``expected`` the shapes of the names that the diff knows. Two keys cannot
    share a name: the first keeps it.

    Raises `InputError` for a rule that does not compile or explodes.
    """
    tried = []
    for rule in rules:
        after = _apply(diff, rule, shapes=shapes, expected=expected)
        fixes = {key: name for key, name in after.matched.items() if key not in diff.matched}
        tried.append(TriedRule(rule=rule, fixes=fixes, breaks=tuple(k for k in diff.matched if k not in after.matched)))
        diff = after
    return diff, tuple(tried)


def _apply(diff: KeyDiff, rule: Rule, *, shapes: Mapping[str, Shape], expected: Mapping[str, Shape]) -> KeyDiff:
    names = {**diff.matched, **diff.unexpected, **{entry.key: entry.name or entry.key for entry in diff.mismatched}}
    renamed = apply_rules(names.values(), [rule])
    moved = {key: renamed[name] for key, name in names.items() if renamed[name] != name}
    wanted = dict.fromkeys(diff.missing)
    wanted |= dict.fromkeys(names[key] for key in moved if key not in diff.unexpected)  # what they leave is free
    matched = {key: name for key, name in diff.matched.items() if key not in moved}
    unexpected = {key: name for key, name in diff.unexpected.items() if key not in moved}
    mismatched = [entry for entry in diff.mismatched if entry.key not in moved]
    ignored = dict(diff.ignored)
    for key, name in moved.items():
        if name is None:
            ignored[key] = None
        elif name not in wanted:
            unexpected[key] = name
        else:
            del wanted[name]
            shape = expected.get(name, shapes[key])
            if shape == shapes[key]:
                matched[key] = name
            else:
                mismatched.append(Mismatch(key=key, name=name, checkpoint_shape=shapes[key], model_shape=shape))
    order = {key: place for place, key in enumerate(shapes)}
    return KeyDiff(
        matched=dict(sorted(matched.items(), key=lambda pair: order[pair[0]])),
        missing=tuple(wanted),
        unexpected=dict(sorted(unexpected.items(), key=lambda pair: order[pair[0]])),
        mismatched=tuple(mismatched),
        ignored=ignored,
    )


def try_on_model(compared: ModelDiff, rules: Sequence[Rule]) -> tuple[ModelDiff, tuple[TriedRule, ...]]:
    """The checkpoint with rules behind the renames of vLLM's mapper, and what each did, one after the other.

    vLLM's own loader is asked again, once for each rule, so that names are fused, tied or left out as in a load.

    Raises `InputError` for a rule that does not compile or explodes, and `EngineError` where the pair cannot say.
    """
    stems = compared.weights.stems
    requests = []
    for count in range(1, len(rules) + 1):
        names = apply_rules(stems.values(), rules[:count])
        renames = {key: names[stem] for key, stem in stems.items() if names[stem] != stem}
        requests.append(replace(compared.request, renames={**compared.request.renames, **renames}, trace=()))
    tried = []
    answers = map_many_weights(requests, versions=compared.weights.versions) if requests else []
    for rule, request, answer in zip(rules, requests, answers, strict=True):
        if isinstance(answer, EngineError):
            raise answer
        before, compared = compared.diff, judge_ends(request, answer)
        tried.append(_compare_ends(rule, before, compared.diff))
    return compared, tuple(tried)


def _compare_ends(rule: Rule, before: KeyDiff, after: KeyDiff) -> TriedRule:
    fixes = {key: name for key, name in after.matched.items() if key not in before.matched}
    refused = after.unexpected.keys() | {entry.key for entry in after.mismatched}
    broken = [key for key in before.matched if key not in after.matched]
    return TriedRule(rule=rule, fixes=fixes, breaks=(*broken, *(key for key in before.ignored if key in refused)))
