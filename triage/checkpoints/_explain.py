"""Why a key ended where it did."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import regex

from triage.checkpoints._compare import KeyDiff
from triage.checkpoints._model import ModelDiff
from triage.engine.weights import Fate, RuleKind, Step
from triage.errors import EngineError

if TYPE_CHECKING:
    import pandas as pd

_SHARED_TAIL = 2  # parts: a module and its tensor


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
        said = f"{key} is dropped by rule {changes[-1][0]} (`{changes[-1][1].rule}`)"
        robbed = _find_robbed(compared, key)
        return (
            f"{said}, and the parameter {robbed}, of the same shape and ending, gets no tensor."
            if robbed
            else f"{said}."
        )
    if end in compared.weights.expected:
        rules = "rule" if len(changes) == 1 else "rules"
        through = ", ".join(f"{number} (`{step.rule}`)" for number, step in changes)
        path = f", through {rules} {through}" if through else ", unchanged"
        return f"{key} ends as the parameter {end}{path}{_explain_loader(compared, key)}."
    if (fate := compared.weights.ends.get(key)) and fate.fate is Fate.IGNORED:
        tied = compared.weights.aliases.get(end)
        why = f"the second name of {tied}, to which it is tied" if tied else "which the model's own loader leaves out"
        return f"{key} ends as {end}, {why}."
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


def _find_robbed(compared: ModelDiff, key: str) -> str | None:
    """A parameter without a tensor that a dropped key may have been meant for: a rule drops more than it should."""
    parts = tuple(key.split("."))
    _, shape = compared.request.tensors[key]
    alike = {
        name: _count_shared_tail(parts, tuple(name.split(".")))
        for name in compared.diff.missing
        if compared.weights.expected.get(name) == shape
    }
    best = max(alike, key=lambda name: alike[name], default=None)
    return best if best is not None and alike[best] >= _SHARED_TAIL else None


def _count_shared_tail(first: Sequence[str], second: Sequence[str]) -> int:
    pairs = zip(reversed(first), reversed(second), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _explain_loader(compared: ModelDiff, key: str) -> str:
    """What vLLM's own loader held against a tensor whose name is a parameter's."""
    end = compared.weights.ends.get(key)
    if end is None or end.fate is not Fate.MISMATCHED:
        return ""
    shape = compared.request.tensors[key][1]
    return f", but its shape is {list(shape)}, and its place there has {list(end.shape or ())}"


def explain_fate(diff: KeyDiff, key: str) -> str:
    """What became of a key in a diff, in one sentence.

    >>> from triage.checkpoints import compare_keys
    >>> explain_fate(compare_keys({"a": (1,)}, {"a": (2,)}), "a")
    'a is called a there too, but has the shape [1], not [2].'
    """
    if key in diff.matched:
        return f"{key} is loaded as {diff.matched[key]}."
    if key in diff.unexpected:
        return f"{key} is called {diff.unexpected[key]}, and nothing is called so there."
    for entry in diff.mismatched:
        if entry.key == key:
            shapes = f"{list(entry.checkpoint_shape)}, not {list(entry.model_shape)}"
            return f"{key} is called {entry.name} there too, but has the shape {shapes}."
    name = diff.ignored[key]
    return f"{key} is dropped." if name is None else f"{key} is called {name} and left out on purpose."


def _foretell(step: Step, key: str) -> str:
    """What the rule would do to the key, by the pattern that the mapper really holds."""
    if step.rule.kind is not RuleKind.REGEX or step.rule.replacement is None:
        return "match it"
    return f"make it {regex.sub(step.rule.pattern, step.rule.replacement, key)}"


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
            return regex.search(pattern, key) is not None
        except regex.error as error:
            raise EngineError(f"The rule {pattern!r} is no regular expression: {error}.", hint="Report it.") from error
    if step.rule.kind is RuleKind.PREFIX:
        return key.startswith(pattern)
    return key.endswith(pattern) if step.rule.kind is RuleKind.SUFFIX else pattern in key
