"""A patch to copy, at the place where the evidence says that it belongs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from triage.checkpoints._impact import Effect
from triage.checkpoints._patch import has_mapper, patch_backend, patch_class, write_entry
from triage.checkpoints._rules import quote_literal, simplify_rule
from triage.engine.architectures import find_native_file, read_source
from triage.engine.history import VersionPair, find_versions
from triage.engine.weights import Rule, RuleKind
from triage.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_BACKEND = "vllm/model_executor/models/transformers/base.py"
_MAPPER = "vllm/model_executor/models/utils.py"
_CONVERSION = "src/transformers/conversion_mapping.py"
_SHOWN = 4


class Place(StrEnum):
    """Where a rule belongs: the widest place at which it harms nobody, and none that knows too little of the model."""

    MODEL_CLASS = "the mapper of vLLM's own model class"
    BACKEND = "the mapper of vLLM's Transformers backend"
    TRANSFORMERS = "the conversion mapping of Transformers"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A patch as text, the file it goes to, and why there."""

    place: Place
    file: str
    reason: str
    text: str


def propose_patch(
    rules: Sequence[Rule],
    *,
    architecture: str,
    model_class: str,
    impact: pd.DataFrame | None = None,
    native: bool = False,
    scoped_renaming_fixes: bool = False,
    versions: VersionPair | None = None,
) -> Proposal:
    r"""The patch for ``architecture`` (a model type, like ``gemma3``), placed by the evidence.

    ``impact`` is what `try_rules` says of the rules; ``native`` says that vLLM's own class serves the model;
    ``scoped_renaming_fixes`` that Transformers' renaming, applied with its scope, mends the keys without any rule.

    Raises `InputError` where there is neither a rule nor a scoped renaming to propose.

    >>> rule = Rule(kind=RuleKind.REGEX, pattern=r"^old\.", replacement="new.")
    >>> print(propose_patch([rule], architecture="gemma3", model_class="Gemma3ForConditionalGeneration").reason)
    The change belongs into the conversion mapping of Transformers: what it does to other models was not tried, ...
    """
    if scoped_renaming_fixes:
        return _apply_scope()
    if not rules:
        raise InputError("There is no rule to propose.", hint="Infer one first, or give your own.")
    if native:
        file = find_native_file(model_class, versions or find_versions())
        source = read_source(file, versions or find_versions()) if file else None
        return _change_class(rules, model_class, file or f"the file that defines {model_class}", source)
    if impact is None:
        reason = "what it does to other models was not tried, so it is confined to this one"
        return _change_transformers(rules, architecture, reason)
    return _place_by_impact(rules, architecture, impact, versions or find_versions())


def _place_by_impact(rules: Sequence[Rule], architecture: str, impact: pd.DataFrame, versions: VersionPair) -> Proposal:
    tried = impact[impact["verdict"] != Effect.NOT_BUILT.value]
    others = tried[tried["architecture"] != architecture]
    named = {effect: list(others.loc[others["verdict"] == effect.value, "architecture"]) for effect in Effect}
    if broken := named[Effect.BROKEN]:
        return _change_transformers(rules, architecture, f"elsewhere it would break {_list(broken)}")
    if renamed := named[Effect.RENAMED]:
        reason = f"it changes keys of {_list(renamed)} without making them load"
        return _change_transformers(rules, architecture, reason)
    if fixed := named[Effect.FIXED]:
        reason = f"of {len(tried)} architectures it breaks none and also fixes {_list(fixed)}"
        return _change_backend(rules, reason, versions)
    reason = f"of {len(tried)} architectures it touches this one alone: the name is the model's, not the backend's"
    return _change_transformers(rules, architecture, reason)


def _change_class(rules: Sequence[Rule], model_class: str, file: str, source: str | None) -> Proposal:
    plain = [simplify_rule(rule) for rule in rules]
    if len({rule.kind for rule in plain}) > 1:  # a mapper applies one kind after the other: the order would be lost
        plain = list(map(_as_regex, rules))
    text = patch_class(source, file, model_class, plain) if source else None
    if text is None:
        entries = [f"+            {write_entry(rule)}" for rule in plain]
        field = [f"+        orig_to_new_{plain[0].kind}={{", *entries, "+        },"]
        lines = [f"--- {file}", f" class {model_class}(…):"]
        if source and not has_mapper(source, model_class):
            lines += ["+    hf_to_vllm_mapper = WeightsMapper(", *field, "+    )", " def load_weights(self, weights):"]
            lines += ["+    # hand mapper=self.hf_to_vllm_mapper to the AutoWeightsLoader, or weights to its apply()"]
        else:
            lines += ["     hf_to_vllm_mapper = WeightsMapper(", *field]
        text = _join(lines)
    reason = "a class of vLLM's own loads the model, and its mapper touches no other"
    return Proposal(place=Place.MODEL_CLASS, file=file, reason=_explain(Place.MODEL_CLASS, reason), text=text)


def _change_backend(rules: Sequence[Rule], reason: str, versions: VersionPair) -> Proposal:
    """Behind all other rules, where they were tried."""
    regexes = list(map(_as_regex, rules))
    source = read_source(_BACKEND, versions)
    text = patch_backend(source, _BACKEND, regexes) if source else None
    if text is None:
        lines = [f"--- {_BACKEND}", " def _create_hf_to_vllm_mapper(self):"]
        for rule in regexes:
            pattern, replacement = quote_literal(rule.pattern), quote_literal(rule.replacement)
            lines += [f"+        orig_to_new_regex[re.compile({pattern})] = {replacement}"]
        text = _join(lines)
    return Proposal(place=Place.BACKEND, file=_BACKEND, reason=_explain(Place.BACKEND, reason), text=text)


def _change_transformers(rules: Sequence[Rule], architecture: str, reason: str) -> Proposal:
    lines = [f"--- {_CONVERSION}", " def _build_checkpoint_conversion_mapping():", f'         "{architecture}": [']
    for rule in map(_as_regex, rules):
        source, target = quote_literal(rule.pattern), quote_literal(rule.replacement)
        lines += [f"+            WeightRenaming(source_patterns={source}, target_patterns={target}),"]
    return Proposal(
        place=Place.TRANSFORMERS, file=_CONVERSION, reason=_explain(Place.TRANSFORMERS, reason), text=_join(lines)
    )


def _apply_scope() -> Proposal:
    lines = [
        f"--- {_BACKEND}",
        "             if isinstance(mapping, WeightRenaming):",
        "-                orig_to_new_regex[compiled_sources] = target_pattern",
        "+                orig_to_new_renaming.append(mapping)",
        f"--- {_MAPPER}",
        " class WeightsMapper:",
        "+        for renaming in self.orig_to_new_renaming:",
        "+            key, _ = renaming.rename_source_key(key)",
    ]
    reason = (
        "Transformers has the renaming and its scope already; the mapper drops the scope when it copies the pattern"
    )
    return Proposal(place=Place.BACKEND, file=_BACKEND, reason=_explain(Place.BACKEND, reason), text=_join(lines))


def _as_regex(rule: Rule) -> Rule:
    """The same rule as a regular expression; both places take nothing else."""
    import regex

    if rule.kind is RuleKind.REGEX:
        return rule
    text = regex.escape(rule.pattern, special_only=True)
    pattern = {RuleKind.PREFIX: f"^{text}", RuleKind.SUFFIX: f"{text}$"}.get(rule.kind, text)
    replacement = None if rule.replacement is None else rule.replacement.replace("\\", "\\\\")
    return Rule(kind=RuleKind.REGEX, pattern=pattern, replacement=replacement)


def _explain(place: Place, reason: str) -> str:
    return f"The change belongs into {place.value}: {reason}."


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _join(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
