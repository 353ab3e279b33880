"""What the benchmarks of `triage verify` share: a short command, and a Slurm on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

from triage.verify import Change, Design, Limits, Plan, Rule

COMMAND = (sys.executable, "-S", "-c", "print('fine')")


def plan_short(folder: Path) -> Plan:
    """Both arms run a command that takes no time; a variable is all that tells them apart."""
    return Plan(command=COMMAND, change=Change(env={"TRIAGE_BENCHMARK": "1"}), folder=folder)


def fix_runs(runs: int) -> Design:
    """So many runs of each arm."""
    return Design(rule=Rule.FIXED, runs=runs)


LIMITS = Limits(timeout_s=60)
