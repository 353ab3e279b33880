"""`triage verify` costs a run at most 50 ms beside the run itself: watch, log, signature, result, stopping rule.

A command that takes no time, 50 runs of each arm, in a process of its own without the start of Python. The peer is a
bare loop over `subprocess.run` with the output into a file.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks._measurement import Measurement, summarise
from benchmarks._verifying import COMMAND, LIMITS, fix_runs, plan_short
from triage.verify._arms import prepare_arms
from triage.verify._campaign import Campaign, LocalRunner, run_campaign

RUNS = 50


def _time_bare(folder: Path, runs: int) -> float:
    began = time.perf_counter()
    for number in range(2 * runs):
        with (folder / f"{number}.log").open("wb") as log:
            subprocess.run(COMMAND, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    return (time.perf_counter() - began) / (2 * runs)


def _time_verified(folder: Path, runs: int) -> float:
    plan = plan_short(folder)
    setup = prepare_arms(plan.command, folder=folder, work=folder / "work", change=plan.change)
    campaign = Campaign(setup=setup, design=fix_runs(runs), limits=LIMITS)
    out = folder / "out"
    out.mkdir()
    campaign.write(out)
    began = time.perf_counter()
    run_campaign(campaign, out, LocalRunner(out))
    return (time.perf_counter() - began) / (2 * runs)


def measure(*, runs: int = RUNS, rounds: int = 3) -> Measurement:
    """Both in turn; the first round fills the caches."""
    bare, extra = [], []
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            bare_s, verified_s = _time_bare(Path(one), runs), _time_verified(Path(other), runs)
        if number:
            bare.append(1000 * bare_s)
            extra.append(1000 * (verified_s - bare_s))
    median, spread = summarise(extra)
    return Measurement(
        promise="a run under triage verify, beside itself",
        measured=median,
        limit=50.0,
        unit="ms",
        spread=spread,
        peer="subprocess.run, bare",
        peer_measured=summarise(bare)[0],
        peer_unit="ms",
    )
