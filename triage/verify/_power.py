"""How likely a design is to say ``VERIFIED``, exactly: its power, and with equal rates its false alarms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from triage.verify._design import Design, Leaning, Rule, rejects_old_rate, weigh_sequentially
from triage.verify._exact import compare_rates, find_runs, rate_upper_bound

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def calculate_power(design: Design, old_rate: float, new_rate: float = 0.0) -> float:
    """The probability of ``VERIFIED`` if a run fails with ``old_rate`` before and with ``new_rate`` after the change.

    Every run is taken to fail or pass by itself, on one node.

    >>> fixed = Design(rule=Rule.FIXED, runs=20)
    >>> round(calculate_power(fixed, 0.5), 3), calculate_power(fixed, 0.5, 0.5) < 0.05
    (0.979, True)
    """
    from scipy.stats import binom

    first = binom(design.runs, old_rate).pmf(range(design.runs + 1))
    return float(
        sum(
            weight * _power_after(design, failures, old_rate, new_rate)
            for failures, weight in enumerate(first)
            if failures and weight > 1e-12
        )
    )


def _power_after(design: Design, failures: int, old_rate: float, new_rate: float) -> float:
    """The same, given how many runs of the base failed in the first stage."""
    if design.rule is Rule.SPRT:
        return sum(_stop_sequentially(design, failures, old_rate, new_rate))
    from scipy.stats import binom

    pairs = design.plan_pairs(failures, design.runs)
    more = pairs - design.runs
    later = binom(more, old_rate).pmf(range(more + 1))
    passes = binom(pairs, new_rate).cdf
    return float(
        sum(
            weight * passes(allowed)
            for extra, weight in enumerate(later)
            if (allowed := _find_allowed(failures + extra, pairs, pairs, design.confidence)) >= 0
        )
    )


@lru_cache(maxsize=100_000)
def _find_allowed(failures: int, told: int, runs: int, confidence: float) -> int:
    """How many of the runs after the change may fail and still reject the old rate; -1 where not even none may."""
    low, high = -1, runs
    while low < high:
        middle = (low + high + 1) // 2
        if rejects_old_rate((failures, told), (middle, runs), confidence=confidence):
            low = middle
        else:
            high = middle - 1
    return low


def _stop_sequentially(design: Design, failures: int, old_rate: float, new_rate: float) -> Iterator[float]:
    """The probability of stopping with ``VERIFIED`` at each number of pairs: the walk of the likelihood ratio."""
    import numpy as np
    from scipy.stats import binom

    reached = np.zeros(design.most + 1)  # by failures of the after arm, of walks that have not stopped
    reached[: design.runs + 1] = binom(design.runs, new_rate).pmf(np.arange(design.runs + 1))
    for pairs in range(design.runs, design.most + 1):
        if pairs > design.runs:
            reached = _step(reached, new_rate)
        for count in np.flatnonzero(reached[: pairs + 1] > 1e-15):
            state = weigh_sequentially(design, (failures, design.runs), (int(count), pairs))
            if state.leaning is Leaning.IMPROVED:
                yield reached[count] * _confirm(design, failures, old_rate, int(count), pairs)
            if state.leaning is not Leaning.UNDECIDED:
                reached[count] = 0.0


def _step(reached: np.ndarray, rate: float) -> np.ndarray:
    import numpy as np

    failed = np.concatenate(([0.0], reached[:-1]))
    return reached * (1 - rate) + failed * rate


def _confirm(design: Design, failures: int, old_rate: float, after: int, pairs: int) -> float:
    """The probability that Fisher's test agrees, over what the base shows after the first stage."""
    from scipy.stats import binom

    more = pairs - design.runs
    later = binom(more, old_rate).pmf(range(more + 1))
    agrees = (compare_rates(failures + extra, pairs, after, pairs) <= design.alpha for extra in range(more + 1))
    return float(sum(weight for weight, agreed in zip(later, agrees, strict=True) if agreed))


def tabulate_power(design: Design, *, rates: Sequence[float] = RATES) -> pd.DataFrame:
    """One row for each old rate: what the design makes of a change that ends the failure, and of one without effect.

    *clean runs* is what rejects the rate if it were known.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "old failure rate": [f"{rate:.0%}" for rate in rates],
            "clean runs that reject it": [find_runs(rate, confidence=design.confidence) for rate in rates],
            "VERIFIED if the change ends it": [f"{calculate_power(design, rate):.0%}" for rate in rates],
            "VERIFIED without any effect": [f"{calculate_power(design, rate, rate):.1%}" for rate in rates],
        }
    )


def tabulate_clean_runs(*, confidence: float = 0.95, runs: Sequence[int] = (5, 10, 20, 50, 100, 300)) -> pd.DataFrame:
    """What runs without a single failure exclude.

    >>> print(*tabulate_clean_runs(runs=(20,)).iloc[0])
    20 rates above 13.9%
    """
    import pandas as pd

    bounds = [f"rates above {rate_upper_bound(0, count, confidence=confidence):.1%}" for count in runs]
    return pd.DataFrame({"clean runs": list(runs), f"exclude, at {confidence:.0%}": bounds})
