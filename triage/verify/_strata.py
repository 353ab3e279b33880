"""Runs on several nodes: whether the fix or the node makes the difference.

The exact conditional test of Cochran, Mantel and Haenszel: within each stratum the margins are held, so a stratum in
which everything fails alike says nothing for either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from triage.verify._attempt import ArmName, Attempt, Outcome, classify_attempt
from triage.verify._exact import compare_rates

Counted = tuple[int, int]  # failures, runs


def compare_stratified(strata: Sequence[tuple[Counted, Counted]]) -> float:
    """The probability of so clear a fall from the first to the second of each stratum, if the two were alike in each.

    With one stratum it is Fisher's test.

    >>> round(compare_stratified([((3, 20), (0, 50))]), 3)
    0.021
    >>> round(compare_stratified([((5, 5), (0, 5)), ((5, 5), (5, 5))]), 3)  # the second node fails whatever the code
    0.004
    """
    import numpy as np
    from scipy.stats import hypergeom

    total = np.ones(1)
    observed = 0
    for (failures_a, runs_a), (failures_b, runs_b) in strata:
        failures, runs = failures_a + failures_b, runs_a + runs_b
        observed += failures_a
        total = np.convolve(total, hypergeom(runs, failures, runs_a).pmf(np.arange(runs_a + 1)))
    return float(min(1.0, total[observed:].sum()))


@dataclass(frozen=True, kw_only=True)
class BadNode:
    """A node on which runs of the same code go wrong more often than elsewhere.

    ``wrong`` of its ``runs``, against ``wrong_elsewhere`` of ``runs_elsewhere``.
    """

    node: str
    wrong: int
    runs: int
    wrong_elsewhere: int
    runs_elsewhere: int
    p_value: float


def find_bad_nodes(attempts: Sequence[Attempt], target: str | None, *, alpha: float = 0.05) -> tuple[BadNode, ...]:
    """The nodes on which a run goes wrong (fails, times out, is lost) more often than elsewhere, given its arm.

    Each node against all others, stratified by arm, with Holm's correction for their number.
    """
    told = [a for a in attempts if a.node and classify_attempt(a, target) is not Outcome.SKIP]
    nodes = sorted({a.node for a in told})
    if len(nodes) < 2:
        return ()

    def count(node: str, arm: ArmName, *, here: bool) -> Counted:
        runs = [a for a in told if a.arm is arm and (a.node == node) is here]
        return sum(classify_attempt(a, target) is not Outcome.PASS for a in runs), len(runs)

    arms = sorted({a.arm for a in told})
    found = []
    for node in nodes:
        strata = [(count(node, arm, here=True), count(node, arm, here=False)) for arm in arms]
        here, elsewhere = ([sum(column) for column in zip(*side, strict=True)] for side in zip(*strata, strict=True))
        found.append(
            BadNode(
                node=node,
                wrong=here[0],
                runs=here[1],
                wrong_elsewhere=elsewhere[0],
                runs_elsewhere=elsewhere[1],
                p_value=compare_stratified(strata),
            )
        )
    bad = []
    for rank, one in enumerate(sorted(found, key=lambda one: one.p_value)):
        if one.p_value > alpha / (len(found) - rank):
            break
        bad.append(one)
    return tuple(bad)


def compare_arms(attempts: Sequence[Attempt], target: str | None) -> float:
    """The one-sided p-value of the fall from before to after: Fisher's test, by node where there are several."""
    strata = []
    for node in sorted({a.node for a in attempts}):
        sides = []
        for arm in (ArmName.BEFORE, ArmName.AFTER):
            outcomes = [classify_attempt(a, target) for a in attempts if a.node == node and a.arm is arm]
            failures = outcomes.count(Outcome.FAIL)
            sides.append((failures, failures + outcomes.count(Outcome.PASS)))
        strata.append((sides[0], sides[1]))
    if len(strata) == 1:
        (before, after), *_ = strata
        return compare_rates(*before, *after)
    return compare_stratified(strata) if strata else 1.0
