"""100 short runs on Slurm take no longer than a hand-written ``sbatch --array`` of 100 by more than 20 %.

A real Slurm of two nodes on this machine. The peer runs the bare command in each of its 100 jobs; `triage verify` runs
a pair in each of 50, from the first submission to the last result. Not measured where Slurm is not installed.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measurement import Measurement, summarise
from benchmarks._verifying import COMMAND, LIMITS, fix_runs, plan_short
from tests.fleet.cluster import Cluster, why_not
from triage.fleet import SlurmOptions, check_options
from triage.verify import SlurmRunner
from triage.verify._arms import prepare_arms
from triage.verify._campaign import Campaign, run_campaign

RUNS = 100
_PARALLEL = 4


def _time_array(folder: Path, runs: int) -> float:
    script = folder / "array.sh"
    script.write_text(f"#!/bin/bash\n{shlex.join(COMMAND)} > {folder}/$SLURM_ARRAY_TASK_ID.log 2>&1\n")
    began = time.perf_counter()
    words = ["sbatch", "--parsable", "--gpus=1", f"--array=0-{runs - 1}%{_PARALLEL}", "--output=/dev/null", str(script)]
    job = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    while subprocess.run(["squeue", "-h", "-j", job], check=True, capture_output=True, text=True).stdout.strip():
        time.sleep(0.5)
    return time.perf_counter() - began


def _time_verified(folder: Path, runs: int) -> float:
    plan = plan_short(folder)
    setup = prepare_arms(plan.command, folder=folder, work=folder / "work", change=plan.change)
    campaign = Campaign(setup=setup, design=fix_runs(runs // 2), limits=LIMITS)
    out = folder / "out"
    out.mkdir()
    campaign.write(out)
    options = check_options(SlurmOptions(parallel=_PARALLEL))
    began = time.perf_counter()
    attempts = run_campaign(campaign, out, SlurmRunner(out, options))
    took_s = time.perf_counter() - began
    if len(attempts) != runs:
        raise RuntimeError(f"{len(attempts)} attempts instead of {runs}")
    return took_s


def measure(*, runs: int = RUNS, rounds: int = 3) -> list[Measurement]:
    """Both in turn, on one cluster."""
    if reason := why_not():
        print(f"verify_slurm is not measured: {reason}", file=sys.stderr)
        return []
    arrays, verified = [], []
    with tempfile.TemporaryDirectory() as home:
        cluster = Cluster(Path(home) / "slurm")
        before = dict(os.environ)
        os.environ.update(cluster.environment)
        try:
            cluster.start()
            for _ in range(rounds):
                with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
                    arrays.append(_time_array(Path(one), runs))
                    verified.append(_time_verified(Path(other), runs))
        finally:
            cluster.stop()
            os.environ.clear()
            os.environ.update(before)
    ratios = [ours / theirs for ours, theirs in zip(verified, arrays, strict=True)]
    median, spread = summarise(ratios)
    return [
        Measurement(
            promise=f"{runs} short runs on Slurm",
            measured=median,
            limit=1.2,
            unit="times sbatch --array",
            spread=spread,
            peer="sbatch --array, bare command",
            peer_measured=summarise(arrays)[0],
        )
    ]
