"""What one run showed, what that means beside the failure that a fix is to mend, and the counts of an arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from triage.result import Family
from triage.verify._exact import rate_interval

HANG = "hang"  # the failure to be mended is a hang: see `choose_target`
_ELSEWHERE = {Family.AGENT_LOST, Family.IMAGE_OR_REGISTRY, Family.NETWORK}


class ArmName(StrEnum):
    """The code as it was, with the fix, and with the fix taken out again."""

    BEFORE = "before"
    AFTER = "after"
    REVERTED = "reverted"


class End(StrEnum):
    """How a run ended, whatever the failure is that one looks for."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"  # at the time limit, or without a sign of life
    SKIPPED = "skipped"  # it ran no test
    LOST = "lost"  # the node or the driver went: nobody knows


class Outcome(StrEnum):
    """What a run says of the failure that is to be mended. Only a pass is a pass."""

    FAIL = "fail"
    OTHER_FAILURE = "other_failure"
    PASS = "pass"
    TIMEOUT = "timeout"
    SKIP = "skip"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One failure in the log of a run: its signature, as `triage log` gives it, and its masked root line."""

    signature: str
    family: Family
    infra: bool
    line: str

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is of a service or a machine that no change of the code bears on."""
        return self.infra and self.family in _ELSEWHERE


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of one arm. ``pair`` numbers the runs that stand beside each other; ``node`` is an alias.

    ``returncode`` is negative for death by a signal, None where the run was ended or lost. ``log`` is the name of the
    file with its output, ``log_sha256`` its checksum.
    """

    arm: ArmName
    index: int
    pair: int
    end: End
    returncode: int | None = None
    seen: tuple[Seen, ...] = ()
    seconds: float = 0.0
    node: str = ""
    started: str = ""
    log: str = ""
    log_sha256: str = ""

    @property
    def signatures(self) -> frozenset[str]:
        """Every failure of the run."""
        return frozenset(one.signature for one in self.seen)

    def name_signature(self, target: str | None) -> str | None:
        """The signature that stands for the run: the one looked for, if it is there, else the first."""
        if target in self.signatures:
            return target
        return self.seen[0].signature if self.seen else None

    def to_json(self, target: str | None) -> dict[str, Any]:
        """The contract's fields, and what else is known."""
        return {
            "arm": self.arm.value,
            "index": self.index,
            "outcome": classify_attempt(self, target).value,
            "returncode": self.returncode,
            "signature": self.name_signature(target),
            "seconds": round(self.seconds, 3),
            "node": self.node,
            "pair": self.pair,
            "end": self.end.value,
            "signatures": [one.signature for one in self.seen],
            "started": self.started,
            "log": self.log,
            "log_sha256": self.log_sha256,
        }


def classify_attempt(attempt: Attempt, target: str | None) -> Outcome:
    """What a run says of the failure with the signature ``target``.

    >>> run = Attempt(arm=ArmName.AFTER, index=0, pair=0, end=End.TIMED_OUT)
    >>> classify_attempt(run, "v1:3def165f23eb").value
    'timeout'
    """
    match attempt.end:
        case End.FAILED:
            return Outcome.FAIL if target in attempt.signatures else Outcome.OTHER_FAILURE
        case End.TIMED_OUT:
            return Outcome.FAIL if target == HANG else Outcome.TIMEOUT
        case End.PASSED:
            return Outcome.PASS
        case End.SKIPPED:
            return Outcome.SKIP
    return Outcome.LOST


def choose_target(attempts: Iterable[Attempt], *, family: Family | None = None) -> str | None:
    """The failure to be mended: the signature that most runs of the base show, the earlier of two equals.

    Only signatures of ``family``, where it is given. A hang is one only for a family that hangs: else a time-out tells
    nothing of the failure. None where the base did not fail.
    """
    base = [a for a in attempts if a.arm is ArmName.BEFORE]
    if family is Family.GPU_HANG and any(a.end is End.TIMED_OUT for a in base):
        return HANG
    counts = Counter(
        one.signature
        for attempt in base
        if attempt.end is End.FAILED
        for one in dict.fromkeys(attempt.seen)
        if not one.is_elsewhere and family in {None, one.family}
    )
    return max(counts, key=lambda signature: counts[signature], default=None)


@dataclass(frozen=True, kw_only=True)
class ArmCounts:
    """The runs of an arm by outcome. Only failures and passes tell of the rate."""

    runs: int = 0
    failures: int = 0
    other_failures: int = 0
    passes: int = 0
    timeouts: int = 0
    skips: int = 0
    lost: int = 0

    @property
    def told(self) -> int:
        """How many runs tell of the rate: those in which the failure came, and those that passed."""
        return self.failures + self.passes

    @property
    def rate(self) -> float | None:
        """Failures among the runs that tell; None without one."""
        return self.failures / self.told if self.told else None

    def to_json(self) -> dict[str, Any]:
        """The contract's fields; ``ci95`` is the two-sided Clopper-Pearson interval of the rate."""
        return {
            "runs": self.runs,
            "failures": self.failures,
            "other_failures": self.other_failures,
            "passes": self.passes,
            "timeouts": self.timeouts,
            "skips": self.skips,
            "lost": self.lost,
            "rate": self.rate,
            "ci95": list(rate_interval(self.failures, self.told)),
        }


def count_attempts(attempts: Sequence[Attempt], arm: ArmName, target: str | None) -> ArmCounts:
    """Counts one arm's attempts.

    >>> run = Attempt(arm=ArmName.AFTER, index=0, pair=0, end=End.SKIPPED)
    >>> count_attempts([run], ArmName.AFTER, None)
    ArmCounts(runs=1, failures=0, other_failures=0, passes=0, timeouts=0, skips=1, lost=0)
    """
    found = Counter(classify_attempt(a, target) for a in attempts if a.arm is arm)
    return ArmCounts(
        runs=found.total(),
        failures=found[Outcome.FAIL],
        other_failures=found[Outcome.OTHER_FAILURE],
        passes=found[Outcome.PASS],
        timeouts=found[Outcome.TIMEOUT],
        skips=found[Outcome.SKIP],
        lost=found[Outcome.LOST],
    )
