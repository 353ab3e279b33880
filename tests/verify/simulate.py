"""Attempts as a run of known rates would make them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triage.result import Family
from triage.verify import ArmName, Attempt, Design, End, Judgement, Seen, judge_attempts
from triage.verify._plan import count_planned

FAILURE = Seen(signature="v1:0123456789ab", family=Family.TEST_ASSERTION, infra=False, line="assert <n> == <n>")
OTHER = Seen(signature="v1:ffffffffffff", family=Family.UNKNOWN, infra=False, line="KeyError: <n>")


def make_attempts(
    arm: ArmName, ends: Sequence[End | Seen], *, node: str = "node-a", first_pair: int = 0
) -> list[Attempt]:
    """One attempt for each end; a failure stands for a run that failed with it."""
    found = []
    for number, end in enumerate(ends):
        seen = (end,) if isinstance(end, Seen) else ()
        kind = End.FAILED if isinstance(end, Seen) else end
        code = {End.FAILED: 1, End.PASSED: 0}.get(kind)
        pair = first_pair + number
        found.append(Attempt(arm=arm, index=pair, pair=pair, end=kind, returncode=code, seen=seen, node=node))
    return found


def make_runs(before: tuple[int, int], after: tuple[int, int], *, node: str = "node-a") -> list[Attempt]:
    """(failures, runs) of each arm, all on one node."""
    arms = zip((ArmName.BEFORE, ArmName.AFTER), (before, after), strict=True)
    return [
        attempt
        for arm, (failures, runs) in arms
        for attempt in make_attempts(arm, [FAILURE] * failures + [End.PASSED] * (runs - failures), node=node)
    ]


def simulate_verification(design: Design, old_rate: float, new_rate: float, random: np.random.Generator) -> Judgement:
    """A whole verification by the design's own stopping rule, each run failing by itself."""
    attempts: list[Attempt] = []
    done = 0
    while done < (pairs := count_planned(attempts, design)):
        for arm, rate in ((ArmName.BEFORE, old_rate), (ArmName.AFTER, new_rate)):
            failed = random.random(pairs - done) < rate
            attempts += make_attempts(arm, [FAILURE if f else End.PASSED for f in failed], first_pair=done)
        done = pairs
    return judge_attempts(attempts, design)
