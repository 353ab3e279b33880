"""The power that `triage verify` promises is within 3 points of the power that 2,000 simulated verifications have.

Old rates from 5 to 50 %, with a change that ends the failure and with one that leaves a tenth of it; the worst pair
counts. The peer is the usual approximation by a normal distribution.
"""

import numpy as np

from benchmarks._measurement import Measurement
from benchmarks.verify_false import DESIGNS
from tests.verify.simulate import simulate_verification
from triage.verify import FixVerdict, calculate_power

PAIRS = tuple((old, new) for old in (0.05, 0.1, 0.2, 0.35, 0.5) for new in (0.0, old / 10))
RUNS = 2000


def measure(*, runs: int = RUNS) -> list[Measurement]:
    """Simulates them and compares."""
    random = np.random.default_rng(2)
    found = []
    for name, design in DESIGNS.items():
        gaps, peer_gaps = [], []
        for old, new in PAIRS:
            verdicts = [simulate_verification(design, old, new, random).verdict for _ in range(runs)]
            share = sum(verdict is FixVerdict.VERIFIED for verdict in verdicts) / runs
            gaps.append(100 * abs(share - calculate_power(design, old, new)))
            peer_gaps.append(100 * abs(share - _approximate(old, new, design.runs)))
        found.append(
            Measurement(
                promise=f"power against {runs:,} simulations, {name}",
                measured=max(gaps),
                limit=3.0,
                unit="points",
                spread=(min(gaps), max(gaps)),
                peer="normal approximation",
                peer_measured=max(peer_gaps),
                peer_unit="points",
            )
        )
    return found


def _approximate(old: float, new: float, runs: int) -> float:
    """The power of a one-sided test of two proportions at 5 %, by the normal distribution."""
    from scipy.stats import norm

    spread = np.sqrt(max(old * (1 - old) + new * (1 - new), 1e-9) / runs)
    return float(norm.cdf((old - new) / spread - norm.ppf(0.95)))
