"""The ledger of retries: jobs of one build that failed and were run again, by the cause of the failure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from triage.errors import MissingDependencyError
from triage.logs._runs import JobRun, Outcome
from triage.result import Family

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A run that failed, and the next one of the same job and build."""

    failed: JobRun
    again: JobRun

    @property
    def family(self) -> Family:
        """The cause of the failed run: the family of its first failure."""
        return self.failed.failures[0].family if self.failed.failures else Family.UNKNOWN

    @property
    def infra(self) -> bool:
        """Whether all that failed in the first run was the node or a service."""
        return bool(self.failed.failures) and all(failure.infra for failure in self.failed.failures)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Failed runs that were run again, and how many were not, or cannot be paired because something is not known."""

    retries: tuple[Retry, ...]
    not_retried: int = 0
    unclear: int = 0


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One cause: how often a retry passed, with the interval of that rate, and its share of all that passed."""

    family: Family
    infra: bool
    retries: int
    passed: int
    rate: float
    rate_low: float
    rate_high: float
    share: float | None
    share_low: float | None
    share_high: float | None

    def to_json(self) -> dict[str, Any]:
        """One row of ``retries`` in ``triage log --json``."""
        return {
            "family": self.family.value,
            "infra": self.infra,
            "retries": self.retries,
            "passed": self.passed,
            "rate": self.rate,
            "ci95": [self.rate_low, self.rate_high],
            "share_of_passed": self.share,
            "share_ci95": None if self.share is None else [self.share_low, self.share_high],
        }


def pair_retries(runs: Iterable[JobRun]) -> Ledger:
    """Every failed run with the next run of the same job and build.

    A build is known by its number, else by its commit. Runs without either, without a job's name or without a date are
    not paired, nor is one that another run of unknown ending follows: that would be a guess.
    """
    groups: dict[tuple[str, str], list[JobRun]] = defaultdict(list)
    unclear = not_retried = 0
    for run in runs:
        build = run.build or run.commit
        if build and run.job and run.began:
            groups[build, run.job].append(run)
        else:
            unclear += run.outcome is Outcome.FAILED
    retries = []
    for members in groups.values():
        ordered = sorted(members, key=lambda run: (run.began, run.log))
        for first, again in zip(ordered, [*ordered[1:], None], strict=True):
            if first.outcome is not Outcome.FAILED:
                continue
            if again is None:
                not_retried += 1
            elif again.outcome is Outcome.UNKNOWN:
                unclear += 1
            else:
                retries.append(Retry(failed=first, again=again))
    return Ledger(retries=tuple(retries), not_retried=not_retried, unclear=unclear)


def explain_retries(ledger: Ledger) -> str:
    """The ledger as a sentence.

    >>> explain_retries(Ledger(retries=(), not_retried=2))
    'No failed run was run again; 2 were not.'
    """
    passed = sum(map(_passed, ledger.retries))
    said = f"{passed} of {len(ledger.retries)} retries passed" if ledger.retries else "No failed run was run again"
    rest = [f"{ledger.not_retried} were not"] if ledger.not_retried and not ledger.retries else []
    if ledger.not_retried and ledger.retries:
        rest = [f"{ledger.not_retried} failed runs were not run again"]
    if ledger.unclear:
        rest.append(f"{ledger.unclear} cannot be paired, for lack of a build, a date or an ending")
    return "; ".join([said, *rest]) + "."


def count_causes(retries: Sequence[Retry]) -> list[LedgerRow]:
    """One row for each cause, the one that most often passed on its retry first.

    The intervals are Clopper and Pearson's at 95 % (``scipy.stats.binomtest``).
    """
    groups: dict[tuple[Family, bool], list[Retry]] = defaultdict(list)
    for retry in retries:
        groups[retry.family, retry.infra].append(retry)
    all_passed = sum(_passed(retry) for retry in retries)
    rows = []
    for (family, infra), members in groups.items():
        passed = sum(map(_passed, members))
        low, high = compute_interval(passed, len(members))
        share_low, share_high = compute_interval(passed, all_passed) if all_passed else (None, None)
        rows.append(
            LedgerRow(
                family=family,
                infra=infra,
                retries=len(members),
                passed=passed,
                rate=passed / len(members),
                rate_low=low,
                rate_high=high,
                share=passed / all_passed if all_passed else None,
                share_low=share_low,
                share_high=share_high,
            )
        )
    return sorted(rows, key=lambda row: (-row.passed, -row.retries, row.family))


def compute_interval(successes: int, trials: int) -> tuple[float, float]:
    """The exact interval of a rate by Clopper and Pearson, at 95 %.

    >>> [round(bound, 3) for bound in compute_interval(0, 10)]
    [0.0, 0.308]
    """
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise MissingDependencyError("Intervals need scipy.", hint="Install it: pip install scipy") from error
    found = binomtest(successes, trials).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    return float(found.low), float(found.high)


def _passed(retry: Retry) -> bool:
    return retry.again.outcome is Outcome.PASSED
