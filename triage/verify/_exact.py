"""Statistics of failure rates: Clopper-Pearson intervals, binomial tests, Fisher's test, Wald's sequential test.

Everything comes from scipy and is asked for in terms of failures and runs. All tests are one-sided: a fix is to lower
a rate.
"""

from __future__ import annotations

import math
from functools import lru_cache


@lru_cache(maxsize=100_000)
def rate_interval(failures: int, runs: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided Clopper-Pearson interval of a rate; (0, 1) without a run.

    >>> [round(bound, 3) for bound in rate_interval(3, 20)]
    [0.032, 0.379]
    """
    if runs == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    interval = binomtest(failures, runs).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


@lru_cache(maxsize=100_000)
def rate_lower_bound(failures: int, runs: int, *, confidence: float = 0.95) -> float:
    """The one-sided lower bound of a rate by Wilson's score, for planning: the old rate may be as low as that.

    It is no exact bound, so a verdict never rests on it alone: see `triage.verify.judge`.

    >>> round(rate_lower_bound(3, 20), 3), find_runs(rate_lower_bound(3, 20))
    (0.062, 48)
    """
    if failures == 0 or runs == 0:
        return 0.0
    from scipy.stats import binomtest

    return float(binomtest(failures, runs, alternative="greater").proportion_ci(confidence, method="wilson").low)


@lru_cache(maxsize=100_000)
def rate_upper_bound(failures: int, runs: int, *, confidence: float = 0.95) -> float:
    """The one-sided Clopper-Pearson upper bound of a rate: what so many runs exclude.

    >>> [round(100 * rate_upper_bound(0, runs), 1) for runs in (10, 20, 35, 50, 100)]
    [25.9, 13.9, 8.2, 5.8, 3.0]
    """
    if failures == runs:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(failures, runs, alternative="less").proportion_ci(confidence, method="exact").high)


@lru_cache(maxsize=100_000)
def reject_rate(failures: int, runs: int, rate: float) -> float:
    """The exact probability of so few failures in so many runs under a rate: small where they reject it.

    >>> round(reject_rate(0, 5, 0.5), 3), reject_rate(0, 0, 0.5)
    (0.031, 1.0)
    """
    from scipy.special import bdtr

    return float(bdtr(failures, runs, rate)) if runs else 1.0


@lru_cache(maxsize=100_000)
def compare_rates(failures_a: int, runs_a: int, failures_b: int, runs_b: int) -> float:
    """Fisher's exact test, one-sided: the probability of so clear a fall from *a* to *b* if the two rates were one.

    >>> round(compare_rates(3, 20, 0, 20), 3), round(compare_rates(3, 20, 0, 50), 3)
    (0.115, 0.021)
    """
    from scipy.stats import fisher_exact

    table = [[failures_a, runs_a - failures_a], [failures_b, runs_b - failures_b]]
    return float(fisher_exact(table, alternative="greater").pvalue)


@lru_cache(maxsize=100_000)
def find_runs(rate: float, *, failures: int = 0, confidence: float = 0.95) -> int | None:
    """The fewest runs that reject the rate if no more than so many of them fail; None for a rate of zero.

    >>> [find_runs(rate) for rate in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)]
    [5, 14, 29, 59, 149, 299]
    """
    if rate <= 0:
        return None
    alpha = 1 - confidence
    low, high = failures, failures + 1
    while reject_rate(failures, high, rate) > alpha:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reject_rate(failures, middle, rate) <= alpha else (middle, high)
    return high


def sequential_evidence(failures: int, runs: int, *, rate: float, improved: float) -> float:
    """The log-likelihood ratio of Wald's sequential probability ratio test: for the improved rate, against the old one.

    Where it comes to ``log(1 / alpha)``, the old rate is rejected at level alpha, whenever one looks: under any rate
    from the old one on, the expected ratio is at most 1 (Ville's inequality).

    >>> sequential_evidence(0, 10, rate=0.3, improved=0.03) > math.log(20)
    True
    """
    if rate >= 1:  # a single pass contradicts it
        return math.inf if runs > failures else failures * math.log(improved / rate)
    return failures * math.log(improved / rate) + (runs - failures) * math.log((1 - improved) / (1 - rate))
