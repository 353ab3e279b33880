"""From the keys that a model refuses to a patch: the rule that is missing, what it does elsewhere, where it belongs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from triage.checkpoints._compare import KeyDiff
from triage.checkpoints._edits import Shape
from triage.checkpoints._impact import SCOPED, Effect, describe_dispute, judge_outcomes, tabulate_impact
from triage.checkpoints._infer import Inference, infer_rules
from triage.checkpoints._model import ModelDiff
from triage.checkpoints._proposal import Proposal, propose_patch
from triage.checkpoints._retry import TriedRule
from triage.checkpoints._rules import write_mapper
from triage.engine.architectures import Placement, Position, Trial, try_positions
from triage.engine.history import VersionPair
from triage.engine.weights import ModelImpl, Rule
from triage.errors import CheckpointError

if TYPE_CHECKING:
    import pandas as pd

PROPOSED = "proposed rules"
_ALL = "all"


def infer_model_rules(compared: ModelDiff) -> Inference:
    """The rules that a model's mapper lacks, on the names that vLLM's own renames have led to: they go after those.

    A key that the loader passes over in silence is looked at like one that it refuses: loaders of experts do that with
    names that they do not know. What the rules fix here is what names and shapes promise; `try_on_model` has vLLM's own
    loader say it.
    """
    weights, diff = compared.weights, compared.diff
    passed = [key for key in diff.ignored if key in weights.stems and weights.stems[key] not in weights.aliases]
    expected = {**weights.expected, **weights.missing}
    names, shapes = weights.stems, compared.shapes
    found = infer_diff_rules(diff, names=names, shapes=shapes, expected=expected, passed=passed)
    silent = {weights.stems[key] for key in passed}
    return replace(found, unexplained=tuple(name for name in found.unexplained if name not in silent))


def infer_diff_rules(
    diff: KeyDiff,
    *,
    names: Mapping[str, str],
    shapes: Mapping[str, Shape],
    expected: Mapping[str, Shape],
    passed: Collection[str] = (),
) -> Inference:
    """The rules that lead a diff's unexpected names, and those of the keys ``passed``, to missing ones.

    ``names`` and ``shapes`` are by key: what a rule would look at, and what it must not change; ``expected`` by name.
    """
    lost = {*diff.unexpected, *passed}
    return infer_rules(
        {names[key]: shapes[key] for key in shapes if key in lost},
        {name: expected[name] for name in diff.missing if name in expected},
        known=[name for key, name in names.items() if key not in lost],
    )


def tabulate_rules(tried: Sequence[TriedRule], inference: Inference) -> pd.DataFrame:
    """The rules for reading: ``rule``, ``in vLLM's words``, ``fixes`` and ``breaks`` (counts), ``note``.

    ``note`` says what an inferred rule rests on where names alone decided it.

    >>> tabulate_rules((), infer_rules({"a": (1,)}, {"b": (2,)})).empty
    True
    """
    import pandas as pd

    notes = {found.rule: found.note for found in inference.rules}
    rows = [
        (str(found.rule), write_mapper(found.rule), len(found.fixes), len(found.breaks), notes.get(found.rule, ""))
        for found in tried
    ]
    return pd.DataFrame(rows, columns=["rule", "in vLLM's words", "fixes", "breaks", "note"])


def try_dispute(positions: Sequence[Position], *, versions: Sequence[VersionPair], architectures: str) -> list[Trial]:
    """The positions of the upstream dispute, and the proposed rules, under each pair of versions.

    ``architectures`` are model types with spaces between them, or ``all``, which takes a minute or so for each pair.
    """
    names = None if architectures.strip() == _ALL else architectures.split()
    return [try_positions(positions, versions=pair, architectures=names) for pair in versions]


def list_positions(rules: Sequence[Rule]) -> tuple[Position, ...]:
    """The positions of the dispute, and the proposed rules where there are any, behind all others.

    >>> len(list_positions([]))
    4
    """
    own = (Position(name=PROPOSED, rules=tuple(rules), placement=Placement.LAST),) if rules else ()
    return (*describe_dispute(), *own)


def propose_fix(rules: Sequence[Rule], trials: Sequence[Trial], folder: Path) -> Proposal | None:
    """The patch for the model in a folder, placed by the trials; None where no rule and no renaming mends it.

    The first trial is of the pair that refuses the checkpoint. Scoped renaming is preferred where any trial shows that
    it fixes this model and breaks none: then no rule is needed at all.
    """
    model_type, model_class = read_architecture(folder)
    if any(_is_fixed_by_scope(trial, model_type) for trial in trials):
        return propose_patch((), architecture=model_type, model_class=model_class, scoped_renaming_fixes=True)
    if not rules:
        return None
    return propose_patch(
        rules,
        architecture=model_type,
        model_class=model_class,
        impact=tabulate_impact(trials[0], PROPOSED) if trials else None,
        versions=trials[0].versions if trials else None,
    )


def propose_model_patch(compared: ModelDiff, rules: Sequence[Rule], *, impact: pd.DataFrame | None) -> Proposal:
    """The patch that brings rules to the model that was compared; ``impact`` is what `try_rules` says of them."""
    weights = compared.weights
    model_type, model_class = read_architecture(compared.request.model)
    return propose_patch(
        rules,
        architecture=model_type,
        model_class=model_class,
        impact=impact,
        native=weights.implementation is ModelImpl.VLLM,
        versions=weights.versions,
    )


def _is_fixed_by_scope(trial: Trial, architecture: str) -> bool:
    outcomes = [outcome for outcome in trial.outcomes if outcome.position == SCOPED]
    own = [outcome for outcome in outcomes if outcome.architecture == architecture]
    return judge_outcomes(own) is Effect.FIXED and judge_outcomes(outcomes) is not Effect.BROKEN


def read_architecture(folder: Path) -> tuple[str, str]:
    """(model type, class) by the ``config.json`` of a model folder. Raises `CheckpointError` where it names neither."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return str(config["model_type"]), str(config["architectures"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"{path} names no model_type and architectures.", hint="Name a folder with a whole config.json."
        ) from error
