"""Before and after a fix: what runs of both show of it, with honest statistics, and no more.

The public names load on first use: scipy is slow to import.

>>> from triage.verify import FixVerdict
>>> FixVerdict.VERIFIED.exit_code
0
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triage.verify._arms import Change, Setup, prepare_arms
    from triage.verify._attempt import HANG, ArmCounts, ArmName, Attempt, End, Outcome, Seen
    from triage.verify._campaign import read_campaign
    from triage.verify._case import plan_case
    from triage.verify._check import CheckedReceipt, check_receipt
    from triage.verify._design import Design, Rule
    from triage.verify._exact import compare_rates, find_runs, rate_interval, rate_lower_bound, rate_upper_bound
    from triage.verify._example import Example, make_example
    from triage.verify._judge import FixVerdict, Judgement, judge_attempts
    from triage.verify._overlay import find_package
    from triage.verify._plot import describe_picture, plot_receipt
    from triage.verify._power import calculate_power, tabulate_clean_runs, tabulate_power
    from triage.verify._result import conclude_receipts
    from triage.verify._run import Limits, StoppedError
    from triage.verify._slurm import SlurmRunner, limit_job
    from triage.verify._strata import compare_stratified, find_bad_nodes
    from triage.verify._tables import render_markdown, tabulate_arms, tabulate_attempts
    from triage.verify._verify import Plan, resume_verification, verify_fix

_HOME = {
    "ArmCounts": "_attempt",
    "ArmName": "_attempt",
    "Attempt": "_attempt",
    "Change": "_arms",
    "CheckedReceipt": "_check",
    "Design": "_design",
    "End": "_attempt",
    "Example": "_example",
    "FixVerdict": "_judge",
    "HANG": "_attempt",
    "Judgement": "_judge",
    "Limits": "_run",
    "Outcome": "_attempt",
    "Plan": "_verify",
    "Rule": "_design",
    "Seen": "_attempt",
    "Setup": "_arms",
    "SlurmRunner": "_slurm",
    "StoppedError": "_run",
    "calculate_power": "_power",
    "check_receipt": "_check",
    "compare_rates": "_exact",
    "compare_stratified": "_strata",
    "conclude_receipts": "_result",
    "describe_picture": "_plot",
    "find_bad_nodes": "_strata",
    "find_package": "_overlay",
    "find_runs": "_exact",
    "judge_attempts": "_judge",
    "limit_job": "_slurm",
    "make_example": "_example",
    "plan_case": "_case",
    "plot_receipt": "_plot",
    "prepare_arms": "_arms",
    "rate_interval": "_exact",
    "rate_lower_bound": "_exact",
    "rate_upper_bound": "_exact",
    "read_campaign": "_campaign",
    "render_markdown": "_tables",
    "resume_verification": "_verify",
    "tabulate_arms": "_tables",
    "tabulate_attempts": "_tables",
    "tabulate_clean_runs": "_power",
    "tabulate_power": "_power",
    "verify_fix": "_verify",
}

__all__ = [
    "HANG",
    "ArmCounts",
    "ArmName",
    "Attempt",
    "Change",
    "CheckedReceipt",
    "Design",
    "End",
    "Example",
    "FixVerdict",
    "Judgement",
    "Limits",
    "Outcome",
    "Plan",
    "Rule",
    "Seen",
    "Setup",
    "SlurmRunner",
    "StoppedError",
    "calculate_power",
    "check_receipt",
    "compare_rates",
    "compare_stratified",
    "conclude_receipts",
    "describe_picture",
    "find_bad_nodes",
    "find_package",
    "find_runs",
    "judge_attempts",
    "limit_job",
    "make_example",
    "plan_case",
    "plot_receipt",
    "prepare_arms",
    "rate_interval",
    "rate_lower_bound",
    "rate_upper_bound",
    "read_campaign",
    "render_markdown",
    "resume_verification",
    "tabulate_arms",
    "tabulate_attempts",
    "tabulate_clean_runs",
    "tabulate_power",
    "verify_fix",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"triage.verify.{_HOME[name]}"), name)
    raise AttributeError(f"module 'triage.verify' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
