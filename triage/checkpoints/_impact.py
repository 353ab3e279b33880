"""What a rule would do to other models than the one that it is meant for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from triage.checkpoints._fold import elide_tail
from triage.checkpoints._rules import check_rules
from triage.engine.architectures import Outcome, Placement, Position, Trial, try_positions
from triage.engine.history import VersionPair, find_versions
from triage.engine.weights import Rule, RuleKind

if TYPE_CHECKING:
    import pandas as pd

_PROPOSED = "proposed"
SCOPED = "no regex, scoped renaming"
_TOWER = "vision_tower"
_NESTED = "vision_tower.vision_model"
_NEW_NAME = r"model.vision_tower.\1"


class Effect(StrEnum):
    """What a rule does to an architecture's checkpoints, over all layouts that they come in."""

    UNTOUCHED = "untouched"
    RENAMED = "renamed, loads as before"
    FIXED = "fixed"
    BROKEN = "broken"
    NOT_BUILT = "not built"


def describe_dispute() -> tuple[Position, ...]:
    r"""The positions of the upstream dispute about Gemma3's legacy keys, as changes of the mapper.

    vLLM #42909 put a regular expression into the Transformers backend, for models whose tower has no ``vision_model``
    any more; its reviewer, a bot, wanted it to accept any prefix of the base model, not ``model.`` alone; #42923 took
    it out, and Transformers' own scoped renaming took its place. The fourth row is the second without the condition,
    to show what that does. The first pattern is upstream's own; the second is written after what the review asks for.

    >>> [position.name for position in describe_dispute()][0]
    'regex of #42909'
    """
    narrow = Rule(kind=RuleKind.REGEX, pattern=r"^(?:model\.)?vision_tower\.vision_model\.(.+)", replacement=_NEW_NAME)
    wide = Rule(kind=RuleKind.REGEX, pattern=r"^(?:.+\.)?vision_tower\.vision_model\.(.+)", replacement=_NEW_NAME)
    return (
        Position(name="regex of #42909", rules=(narrow,), when_module=_TOWER, unless_module=_NESTED),
        Position(name="regex with any prefix", rules=(wide,), when_module=_TOWER, unless_module=_NESTED),
        Position(name=SCOPED, scoped=True),
        Position(name="any prefix, no condition", rules=(wide,)),
    )


def try_rules(
    rules: Sequence[Rule],
    *,
    architectures: Sequence[str] | None = None,
    versions: VersionPair | None = None,
    placement: Placement = Placement.AFTER_RENAMINGS,
) -> pd.DataFrame:
    """Tries rules in vLLM's mapper of every vision-language architecture that can be built; one row for each.

    Columns: ``architecture``, ``keys`` (over all layouts of its checkpoints), ``changed``, ``broken`` (loaded before
    and no longer), ``fixed``, ``verdict`` (an `Effect`), ``example`` (``key: before -> after``, without the end that
    they share; of one that is not built, the reason). ``architectures`` None means all; ``versions`` None the installed
    pair.

    Raises `InputError` for a rule that does not compile or explodes, or an architecture that is not there, and
    `EngineError` where the versions cannot be asked.

    ::

        try_rules([parse_rule(r"^vision_model\\.=vision_tower.")], architectures=["gemma3", "llava"])
    """
    check_rules(rules)
    position = Position(name=_PROPOSED, rules=tuple(rules), placement=placement)
    trial = try_positions([position], versions=versions or find_versions(), architectures=architectures)
    return tabulate_impact(trial, _PROPOSED)


def tabulate_impact(trial: Trial, position: str, *, touched_only: bool = False) -> pd.DataFrame:
    """The columns of `try_rules` for one position of a trial; with ``touched_only`` without what stays as it is."""
    import pandas as pd

    rows = []
    for architecture, outcomes in _group(trial, position).items():
        effect = judge_outcomes(outcomes)
        if touched_only and effect is Effect.UNTOUCHED:
            continue
        counts = [
            sum(getattr(outcome, name) for outcome in outcomes) for name in ("keys", "changed", "broken", "fixed")
        ]
        rows.append((architecture, *counts, effect.value, _quote_example(outcomes)))
    if not touched_only:
        rows += [(name, 0, 0, 0, 0, Effect.NOT_BUILT.value, reason) for name, reason in trial.unbuilt.items()]
    return pd.DataFrame(
        rows, columns=["architecture", "keys", "changed", "broken", "fixed", "verdict", "example"]
    ).sort_values(["broken", "fixed", "changed"], ascending=False, kind="stable", ignore_index=True)


def compare_positions(trials: Iterable[Trial], positions: Sequence[Position] | None = None) -> pd.DataFrame:
    """One row for each pair of versions and position: how many architectures it changes, fixes and breaks.

    Columns: ``versions``, ``position``, ``architectures`` (that were tried), ``touched``, ``fixed``, ``broken`` (counts
    of architectures), ``still refused`` (one layout of the same tensors loads fewer of them than another),
    ``example``. ``positions`` None means those of the dispute.
    """
    import pandas as pd

    rows = []
    for trial in trials:
        for position in describe_dispute() if positions is None else positions:
            groups = _group(trial, position.name)
            effects = [judge_outcomes(outcomes) for outcomes in groups.values()]
            every = [outcome for outcomes in groups.values() for outcome in outcomes]
            rows.append(
                {
                    "versions": trial.versions.label,
                    "position": position.name,
                    "architectures": len(groups),
                    "touched": sum(effect is not Effect.UNTOUCHED for effect in effects),
                    "fixed": sum(effect is Effect.FIXED for effect in effects),
                    "broken": sum(effect is Effect.BROKEN for effect in effects),
                    "still refused": sum(map(_refuses_a_layout, groups.values())),
                    "example": _quote_example(every),
                }
            )
    return pd.DataFrame(rows)


def judge_outcomes(outcomes: Sequence[Outcome]) -> Effect:
    """The effect on an architecture: one broken key weighs more than all that are fixed."""
    if any(outcome.broken for outcome in outcomes):
        return Effect.BROKEN
    if any(outcome.fixed for outcome in outcomes):
        return Effect.FIXED
    return Effect.RENAMED if any(outcome.changed for outcome in outcomes) else Effect.UNTOUCHED


def _refuses_a_layout(outcomes: Sequence[Outcome]) -> bool:
    """Whether, with the position, a layout loads fewer tensors than another layout of the same number of keys."""
    loads: dict[int, set[int]] = defaultdict(set)
    for outcome in outcomes:
        loads[outcome.keys].add(outcome.loads + outcome.fixed - outcome.broken)
    return any(len(counts) > 1 for counts in loads.values())


def _group(trial: Trial, position: str) -> Mapping[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in trial.outcomes:
        if outcome.position == position:
            groups[outcome.architecture].append(outcome)
    return groups


def _quote_example(outcomes: Sequence[Outcome]) -> str:
    ranked = sorted(outcomes, key=lambda outcome: (-min(outcome.broken, 1), -min(outcome.fixed, 1)))
    for outcome in ranked:
        for change in outcome.examples:
            names = [change.key, *filter(None, (change.before, change.after))]
            shown = dict(zip(names, elide_tail(names), strict=True))
            before, after = (shown.get(name or "", "(dropped)") for name in (change.before, change.after))
            return f"{shown[change.key]}: {before} -> {after}"
    return ""
