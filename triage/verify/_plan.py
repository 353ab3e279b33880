"""Which runs come next: pairs of both arms, in an order that the seed decides, until the stopping rule is met."""

from __future__ import annotations

import random
from collections.abc import Sequence

from triage.result import Family
from triage.verify._attempt import ArmName, Attempt, count_attempts
from triage.verify._design import Design, Leaning, Rule
from triage.verify._judge import judge_attempts
from triage.verify._run import Slot


def order_pair(pair: int, *, seed: int) -> tuple[Slot, Slot]:
    """The two runs of a pair. Which arm comes first is drawn, so that neither always finds a warm machine.

    >>> {slot.arm for slot in order_pair(0, seed=1)} == {"before", "after"}
    True
    """
    arms = [ArmName.BEFORE.value, ArmName.AFTER.value]
    random.Random(f"{seed}:{pair}").shuffle(arms)
    first, second = (Slot(arm=arm, pair=pair, number=2 * pair + place) for place, arm in enumerate(arms))
    return first, second


def count_planned(
    attempts: Sequence[Attempt],
    design: Design,
    *,
    target: str | None = None,
    family: Family | None = None,
    at_a_time: int = 1,
) -> int:
    """How many pairs there are to be by what is known, ``at_a_time`` more for a sequential test that has not decided.

    ``attempts`` are those of whole pairs. ``target`` and ``family`` are those of `judge_attempts`.
    """
    done = len({a.pair for a in attempts})
    if design.rule is Rule.FIXED or done < design.runs:
        return design.runs
    state = judge_attempts(attempts, design, target=target, family=family)
    if design.rule is Rule.MEASURED or state.sequential is None:
        return state.planned_pairs if design.rule is Rule.MEASURED else design.runs
    if state.sequential.leaning is not Leaning.UNDECIDED:
        return done
    return min(design.most, done + at_a_time)


def seen_again(attempts: Sequence[Attempt], target: str | None) -> bool:
    """Whether the failure came back without the fix."""
    return count_attempts(attempts, ArmName.REVERTED, target).failures > 0
