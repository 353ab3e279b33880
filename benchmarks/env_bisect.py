"""A planted pair among 200 variables is found in at most 60 runs of the command; the peer is plain ddmin."""

import random
import statistics
import sys

from benchmarks._measurement import Measurement
from triage.settings import EnvironmentCapture, bisect_environment, plan_bisect
from triage.settings._minimise import ddmin

_VARIABLES = 200
_REAL = 2
_MORE = 200


def measure() -> Measurement:
    """Whole bisections of a real command, and the same search for many more pairs without one; the worst counts."""
    counts = [_bisect(pair) for pair in _draw_pairs(_REAL, seed=1)]
    counts += [_count(pair, plain=False) for pair in _draw_pairs(_MORE, seed=2)]
    peer = [_count(pair, plain=True) for pair in _draw_pairs(_MORE, seed=2)]
    return Measurement(
        promise=f"runs to find a planted pair among {_VARIABLES} variables, worst of {len(counts)}",
        measured=max(counts),
        limit=60,
        unit="runs",
        spread=(min(counts), max(counts)),
        peer="ddmin as published, median",
        peer_measured=statistics.median(peer),
        peer_unit="runs",
    )


def _draw_pairs(count: int, *, seed: int) -> list[tuple[int, int]]:
    seeded = random.Random(seed)
    return [tuple(sorted(seeded.sample(range(_VARIABLES), 2))) for _ in range(count)]  # type: ignore[misc]


def _bisect(pair: tuple[int, int]) -> int:
    names = [f"VLLM_PLANTED_{n:03}" for n in pair]
    good = EnvironmentCapture(captured="now")
    bad = good.model_copy(update={"variables": {f"VLLM_PLANTED_{n:03}": "1" for n in range(_VARIABLES)}})
    code = f"import os, sys; sys.exit(all(name in os.environ for name in {names!r}))"
    result = bisect_environment(plan_bisect(good, bad), [sys.executable, "-S", "-c", code])
    if [d.name for d in result.culprits] != names:
        raise RuntimeError("the planted pair was not found, so the count says nothing")
    return result.runs


def _count(pair: tuple[int, int], *, plain: bool) -> int:
    """Tries until the pair is known; a set that was tried before costs nothing. Both ends count, as in a bisection."""
    from triage.settings._minimise import minimise

    tried: set[tuple[int, ...]] = {(), tuple(range(_VARIABLES))}

    def fails(places: tuple[int, ...]) -> bool:
        tried.add(places)
        return set(pair) <= set(places)

    found = ddmin(tuple(range(_VARIABLES)), fails) if plain else minimise(_VARIABLES, fails).places
    if found != pair:
        raise RuntimeError("the planted pair was not found, so the count says nothing")
    return len(tried)
