"""How likely a test fails again, from a few runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def measure_t_tail(t: float, freedom: int) -> float:
    """The probability that Student's t lies beyond ``t`` from 0 on either side, for whole degrees of freedom.

    The finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.

    >>> round(measure_t_tail(2.571, 5), 3), round(measure_t_tail(12.706, 1), 3)
    (0.05, 0.05)
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    term = cosine if freedom % 2 else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if freedom % 2 else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total
    return max(0.0, 1.0 - inside)


def predict_failure(deviations: Sequence[float], *, tolerance: float, resolution: float) -> float | None:
    """The probability that one more run deviates by more than the tolerance: None for a single run, which says nothing.

    The predictive distribution of a normal sample, Student's t about its mean. Runs that agree to the last bit are
    told apart no better than the ``resolution`` of the numbers.

    >>> predict_failure([1e-4, 1.1e-4, 0.9e-4], tolerance=2e-3, resolution=1e-7) < 0.001
    True
    """
    count = len(deviations)
    if count < 2:
        return None
    mean = statistics.fmean(deviations)
    scale = max(statistics.stdev(deviations), resolution) * math.sqrt(1 + 1 / count)
    above = _beyond((tolerance - mean) / scale, count - 1)
    below = _beyond((tolerance + mean) / scale, count - 1)
    return min(1.0, above + below)


def _beyond(t: float, freedom: int) -> float:
    half = measure_t_tail(t, freedom) / 2
    return half if t >= 0 else 1 - half
