"""A change without effect is taken for a fix in at most 5 % of 2,000 verifications, for base rates from 1 to 50 %.

Each stopping rule, run by run as the driver plans them; the rate with most false alarms counts. The peer is Fisher's
test alone, looked at after every pair of runs, as one does who stops when it looks good.
"""

import numpy as np

from benchmarks._measurement import Measurement
from tests.verify.simulate import simulate_verification
from triage.verify import Design, FixVerdict, Rule, compare_rates

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
RUNS = 2000
DESIGNS = {
    "30 runs each": Design(rule=Rule.FIXED, runs=30),
    "runs by the measured rate": Design(runs=20, most=100),
    "SPRT": Design(rule=Rule.SPRT, runs=10, most=60),
}


def measure(*, runs: int = RUNS) -> list[Measurement]:
    """Simulates them."""
    random = np.random.default_rng(1)
    peer = max(_peek(rate, random, runs) for rate in RATES)
    found = []
    for name, design in DESIGNS.items():
        shares = [
            sum(simulate_verification(design, rate, rate, random).verdict is FixVerdict.VERIFIED for _ in range(runs))
            / runs
            for rate in RATES
        ]
        found.append(
            Measurement(
                promise=f"false VERIFIED of {runs:,}, {name}",
                measured=100 * max(shares),
                limit=5.0,
                unit="%",
                spread=(100 * min(shares), 100 * max(shares)),
                peer="Fisher's test after every pair",
                peer_measured=100 * peer,
                peer_unit="%",
            )
        )
    return found


def _peek(rate: float, random: np.random.Generator, runs: int) -> float:
    """How often a test that is looked at after each of 30 pairs says at some time that the rates differ."""
    fooled = 0
    for _ in range(runs):
        before, after = (np.cumsum(random.random(30) < rate) for _ in range(2))
        fooled += any(compare_rates(int(before[n]), n + 1, int(after[n]), n + 1) <= 0.05 for n in range(4, 30))
    return fooled / runs
