"""From attempts to a verdict: what the runs show of a fix, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from triage.result import Family
from triage.verify._attempt import (
    HANG,
    ArmCounts,
    ArmName,
    Attempt,
    End,
    Outcome,
    Seen,
    choose_target,
    classify_attempt,
    count_attempts,
)
from triage.verify._design import (
    Design,
    Leaning,
    Rule,
    Sequential,
    find_clean_runs,
    rejects_old_rate,
    weigh_sequentially,
)
from triage.verify._exact import rate_lower_bound, rate_upper_bound
from triage.verify._strata import BadNode, compare_arms, find_bad_nodes


class FixVerdict(StrEnum):
    """What the runs show of a fix."""

    VERIFIED = "VERIFIED"  # the base failed, and the after arm rejects its rate, without a new failure
    NOT_VERIFIED = "NOT_VERIFIED"  # the failure recurs at a rate that may be the old one, or a new one appears
    INSUFFICIENT = "INSUFFICIENT"  # too few runs to tell
    NEVER_FAILED = "NEVER_FAILED"  # the base did not fail: there is nothing to verify

    @property
    def exit_code(self) -> int:
        """The exit code of `triage verify`.

        >>> [verdict.exit_code for verdict in FixVerdict]
        [0, 1, 3, 3]
        """
        return {FixVerdict.VERIFIED: 0, FixVerdict.NOT_VERIFIED: 1}.get(self, 3)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict with every figure that it rests on.

    ``target`` is the signature of the failure, None where the base did not fail. ``old_rate_bound`` is the lower bound
    of the old rate, ``excluded`` the upper bound of the new one. ``runs_needed`` more runs of the after arm would do if
    none of them fails (0: none is needed; None: nobody can say). ``new`` are failures that only the after arm shows.
    ``planned_pairs`` is what the stopping rule asks for.
    """

    verdict: FixVerdict
    target: str | None
    before: ArmCounts
    after: ArmCounts
    reverted: ArmCounts | None
    p_value: float
    old_rate_bound: float
    excluded: float
    runs_needed: int | None
    planned_pairs: int
    complete: bool
    new: tuple[Seen, ...] = ()
    new_timeouts: int = 0
    nodes: int = 1
    bad_nodes: tuple[BadNode, ...] = ()
    node_decides: bool = False
    sequential: Sequential | None = None


def judge_attempts(
    attempts: Sequence[Attempt], design: Design, *, target: str | None = None, family: Family | None = None
) -> Judgement:
    """The verdict on the attempts of a verification.

    ``target`` is the signature of the failure that the fix is to mend, `HANG` for a hang; without it, it is the one
    that the base shows most often in the first stage, of ``family`` where that is given.

    `FixVerdict.VERIFIED` needs all of: the stopping rule has come to its end; the base failed with that signature; the
    after arm rejects the lower bound of the old rate, and Fisher's test (stratified by node) rejects that the two rates
    are one; no new failure. The sequential test needs its own bound instead of the first of those two.
    """
    first = [a for a in attempts if a.pair < design.runs and a.arm is not ArmName.REVERTED]
    target = target or choose_target(first, family=family)
    before, after = (count_attempts(attempts, arm, target) for arm in (ArmName.BEFORE, ArmName.AFTER))
    both = [a for a in attempts if a.arm is not ArmName.REVERTED]
    measured = count_attempts(first, ArmName.BEFORE, target)
    planned = design.plan_pairs(measured.failures, measured.told)
    sequential = None
    if design.rule is Rule.SPRT and measured.failures:
        sequential = weigh_sequentially(design, (measured.failures, measured.told), (after.failures, after.told))
    complete = _count_pairs(both) >= planned or (
        sequential is not None and sequential.leaning is not Leaning.UNDECIDED and _count_pairs(both) >= design.runs
    )
    p_value = compare_arms(both, target)
    new, new_timeouts = find_new_failures(both, target)
    verdict = _decide(
        design,
        before,
        after,
        complete=complete,
        is_new=bool(new or new_timeouts),
        p_value=p_value,
        sequential=sequential,
    )
    if target is None and before.told == 0:
        verdict = FixVerdict.INSUFFICIENT
    bad = find_bad_nodes(both, target, alpha=design.alpha) if before.failures else ()
    node_decides = verdict is FixVerdict.NOT_VERIFIED and _is_mended_elsewhere(both, target, bad)
    reverted = count_attempts(attempts, ArmName.REVERTED, target)
    if node_decides or (verdict is FixVerdict.VERIFIED and reverted.told and not reverted.failures):
        verdict = FixVerdict.INSUFFICIENT
    return Judgement(
        verdict=verdict,
        target=target,
        before=before,
        after=after,
        reverted=reverted if reverted.runs else None,
        p_value=p_value,
        old_rate_bound=rate_lower_bound(before.failures, before.told, confidence=design.confidence),
        excluded=rate_upper_bound(after.failures, after.told, confidence=design.confidence),
        runs_needed=_find_runs_needed(verdict, design, before, after),
        planned_pairs=planned,
        complete=complete,
        new=new,
        new_timeouts=new_timeouts,
        nodes=len({a.node for a in both}),
        bad_nodes=bad,
        node_decides=node_decides,
        sequential=sequential,
    )


def _decide(
    design: Design,
    before: ArmCounts,
    after: ArmCounts,
    *,
    complete: bool,
    is_new: bool,
    p_value: float,
    sequential: Sequential | None,
) -> FixVerdict:
    if before.failures == 0:
        return FixVerdict.NEVER_FAILED
    if is_new:
        return FixVerdict.NOT_VERIFIED
    if after.told == 0 or not complete:
        return FixVerdict.INSUFFICIENT
    if sequential is not None:
        rejected = sequential.leaning is Leaning.IMPROVED
        recurs = sequential.leaning is Leaning.UNCHANGED
    else:
        rejected = rejects_old_rate(
            (before.failures, before.told), (after.failures, after.told), confidence=design.confidence
        )
        recurs = after.failures > 0
    if rejected and p_value <= design.alpha:
        return FixVerdict.VERIFIED
    return FixVerdict.NOT_VERIFIED if recurs else FixVerdict.INSUFFICIENT


def find_new_failures(attempts: Sequence[Attempt], target: str | None) -> tuple[tuple[Seen, ...], int]:
    """What only the after arm shows: other failures, and the number of time-outs where the base has none.

    A failure of the network or of an agent is nobody's code, and not new.
    """
    known = {one.signature for a in attempts if a.arm is ArmName.BEFORE for one in a.seen} | {target}
    failed = [a for a in attempts if a.arm is ArmName.AFTER and a.end is End.FAILED]
    new = {one.signature: one for a in failed for one in a.seen if one.signature not in known and not one.is_elsewhere}
    timed_out = {
        arm: sum(a.arm is arm and classify_attempt(a, target) is Outcome.TIMEOUT for a in attempts)
        for arm in (ArmName.BEFORE, ArmName.AFTER)
    }
    late = timed_out[ArmName.AFTER] if target != HANG and not timed_out[ArmName.BEFORE] else 0
    return tuple(new.values()), late


def _count_pairs(attempts: Sequence[Attempt]) -> int:
    """How many runs each arm has had, lost ones left out: those are run again."""
    return min(sum(a.arm is arm and a.end is not End.LOST for a in attempts) for arm in (ArmName.BEFORE, ArmName.AFTER))


def _is_mended_elsewhere(attempts: Sequence[Attempt], target: str | None, bad: Sequence[BadNode]) -> bool:
    """Whether all that speaks against the fix comes from bad nodes. It is not taken for a fix: only told apart."""
    names = {one.node for one in bad}
    rest = [a for a in attempts if a.node not in names]
    if not names or not any(a.arm is ArmName.AFTER for a in rest):
        return False
    new, late = find_new_failures(rest, target)
    return not count_attempts(rest, ArmName.AFTER, target).failures and not new and not late


def _find_runs_needed(verdict: FixVerdict, design: Design, before: ArmCounts, after: ArmCounts) -> int | None:
    if verdict is FixVerdict.VERIFIED:
        return 0
    if verdict is not FixVerdict.INSUFFICIENT or not before.failures:
        return None
    needed = find_clean_runs(
        before.failures, before.told, confidence=design.confidence, after=(after.failures, after.told)
    )
    return max(1, needed - after.told)
