"""The stopping rule of a verification: fixed before the first run, it says how many runs there are to be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from triage.errors import InputError
from triage.verify._exact import compare_rates, find_runs, rate_lower_bound, reject_rate, sequential_evidence

MOST_RUNS = 10_000


class Rule(StrEnum):
    """How it is decided when there are enough runs."""

    FIXED = "fixed_n"  # so many of each arm, said by the user
    MEASURED = "measured_n"  # a first stage measures the old rate; its lower bound says how many there are to be
    SPRT = "sprt"  # Wald's sequential probability ratio test, after such a first stage


@dataclass(frozen=True, kw_only=True)
class Design:
    """A stopping rule. ``runs`` is the number of each arm (`Rule.FIXED`), or of the first stage.

    ``most`` bounds the runs of each arm. ``improvement`` is what the sequential test takes for a fix: the old rate
    times that. Raises `InputError` for what is no design.
    """

    rule: Rule = Rule.MEASURED
    runs: int = 20
    most: int = 200
    confidence: float = 0.95
    improvement: float = 0.1

    def __post_init__(self) -> None:
        for name, number in (("--runs", self.runs), ("--max-runs", self.most)):
            if not 1 <= number <= MOST_RUNS:
                raise InputError(
                    f"{name} is {number}.",
                    hint=f"Give a number of runs for each arm, from 1 to {MOST_RUNS:,}; "
                    "59 clean runs are needed to reject a failure rate of 5 % at 95 %.",
                )
        if not 0.5 <= self.confidence < 1:
            raise InputError(
                f"--confidence is {self.confidence:g}.", hint="Give a number from 0.5 to below 1, like 0.95."
            )
        if self.rule is not Rule.FIXED and self.most < self.runs:
            raise InputError(
                f"--max-runs is {self.most}, fewer than the first stage of {self.runs}.", hint="Raise --max-runs."
            )

    @property
    def alpha(self) -> float:
        """The risk of a false ``VERIFIED`` that the test allows."""
        return 1 - self.confidence

    def plan_pairs(self, failures: int, told: int) -> int:
        """How many pairs of runs there are to be, once the first stage is done.

        ``failures`` of the ``told`` runs of the base in the first stage. For the sequential test it is the limit.

        >>> Design().plan_pairs(3, 20), Design(most=30).plan_pairs(3, 20), Design().plan_pairs(0, 20)
        (48, 30, 20)
        """
        if self.rule is Rule.FIXED or failures == 0:
            return self.runs
        if self.rule is Rule.SPRT:
            return self.most
        needed = find_clean_runs(failures, told, confidence=self.confidence)
        return max(self.runs, min(needed, self.most))

    def to_json(self) -> dict[str, Any]:
        """What the receipt says of the rule."""
        return {
            "rule": self.rule.value,
            "runs": self.runs,
            "max_runs": self.most,
            "confidence": self.confidence,
            "improvement": self.improvement,
        }


def rejects_old_rate(before: tuple[int, int], after: tuple[int, int], *, confidence: float) -> bool:
    """Whether the after arm rejects the old rate: its lower bound by the binomial test, and Fisher's test as well.

    Each is (failures, runs). The bound is what one plans with; Fisher's test is exact whatever the old rate is.

    >>> rejects_old_rate((3, 20), (0, 48), confidence=0.95), rejects_old_rate((3, 20), (0, 47), confidence=0.95)
    (True, False)
    """
    alpha = 1 - confidence
    bound = rate_lower_bound(*before, confidence=confidence)
    return bound > 0 and reject_rate(*after, bound) <= alpha and compare_rates(*before, *after) <= alpha


def find_clean_runs(failures: int, told: int, *, confidence: float, after: tuple[int, int] = (0, 0)) -> int:
    """How many runs of the after arm there must be in all, if no further one fails, to reject the old rate.

    ``failures`` of the ``told`` runs of the base, at least one; ``after`` is what the after arm has shown.

    >>> find_clean_runs(3, 20, confidence=0.95), find_clean_runs(1, 1, confidence=0.95)
    (48, 19)
    """
    bound = rate_lower_bound(failures, told, confidence=confidence)
    low = find_runs(bound, failures=after[0], confidence=confidence)
    if low is None:
        raise ValueError("a base that did not fail has no rate to reject")
    low = max(low, after[1])
    high = low
    while not rejects_old_rate((failures, told), (after[0], high), confidence=confidence):
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        if rejects_old_rate((failures, told), (after[0], middle), confidence=confidence):
            high = middle
        else:
            low = middle + 1
    return high


class Leaning(StrEnum):
    """Where the sequential test stands."""

    UNDECIDED = "undecided"
    IMPROVED = "improved"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, kw_only=True)
class Sequential:
    """The state of the sequential test: its log-likelihood ratio, and the two bounds where it stops."""

    rate: float
    improved: float
    evidence: float
    upper: float
    lower: float

    @property
    def leaning(self) -> Leaning:
        """Which bound has been reached."""
        if self.evidence >= self.upper:
            return Leaning.IMPROVED
        return Leaning.UNCHANGED if self.evidence <= self.lower else Leaning.UNDECIDED


def weigh_sequentially(design: Design, first_stage: tuple[int, int], after: tuple[int, int]) -> Sequential:
    """Wald's test of the after arm: the old rate (the lower bound of the first stage) against ``improvement`` of it.

    ``first_stage`` and ``after`` are (failures, runs).

    >>> design = Design(rule=Rule.SPRT)
    >>> clean, failing = [weigh_sequentially(design, (10, 20), after) for after in ((0, 10), (2, 3))]
    >>> clean.leaning.value, failing.leaning.value
    ('improved', 'unchanged')
    """
    rate = rate_lower_bound(*first_stage, confidence=design.confidence)
    bound = math.log(1 / design.alpha)
    if rate <= 0:
        return Sequential(rate=0.0, improved=0.0, evidence=0.0, upper=bound, lower=-bound)
    improved = design.improvement * rate
    evidence = sequential_evidence(*after, rate=rate, improved=improved)
    return Sequential(rate=rate, improved=improved, evidence=evidence, upper=bound, lower=-bound)
