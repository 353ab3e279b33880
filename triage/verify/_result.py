"""A verification as the result of a notebook: what the base did is the verdict, what the fix did is the cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triage.engine.versions import read_versions
from triage.result import Arm, Evidence, Family, Result, Verdict


def conclude_receipts(receipts: Mapping[str, Mapping[str, Any]], *, case: str, family: Family) -> Result:
    """The result over one or more fixes of one failure, by name.

    ``FLAKY`` where the base failed in some of its runs, ``REPRODUCED`` where it failed in all, ``NOT_REPRODUCED`` where
    it never did, and ``INCONCLUSIVE`` where no run of the base tells anything. Each fix is an arm, and what its runs
    show is its cause.
    """
    before = [receipt["before"] for receipt in receipts.values()]
    failures, passes = (sum(counts[name] for counts in before) for name in ("failures", "passes"))
    verdict = _judge_base(failures, failures + passes)
    fixes = "; ".join(f"{name}: {receipt['verdict']}" for name, receipt in receipts.items())
    cause = f"The base failed in {failures} of {failures + passes} runs. {fixes}."
    return Result(
        case=case,
        family=family,
        verdict=verdict,
        cause=cause,
        next_command="triage verify --patch fix.diff -- CMD  # the same for a fix of your own, in its checkout",
        arms=tuple(
            Arm(name=name, verdict=_judge_after(receipt), cause=f"{receipt['verdict']}: {receipt['explanation'][0]}")
            for name, receipt in receipts.items()
        ),
        evidence=tuple(row for name, receipt in receipts.items() for row in _list_evidence(name, receipt)),
        findings={
            name: {key: receipt[key] for key in ("verdict", "before", "after", "reverted", "p_value", "runs_needed")}
            for name, receipt in receipts.items()
        },
        versions=read_versions(),
        snapshots={name: str(receipt["checksums"]["content"]) for name, receipt in receipts.items()},
    )


def _judge_base(failures: int, told: int) -> Verdict:
    if told == 0:
        return Verdict.INCONCLUSIVE
    if failures in {0, told}:
        return Verdict.REPRODUCED if failures else Verdict.NOT_REPRODUCED
    return Verdict.FLAKY


def _judge_after(receipt: Mapping[str, Any]) -> Verdict:
    """What became of the failure with the fix."""
    after = receipt["after"]
    return _judge_base(after["failures"], after["failures"] + after["passes"])


def _list_evidence(name: str, receipt: Mapping[str, Any]) -> list[Evidence]:
    rows = []
    for arm in ("before", "after", "reverted"):
        if counts := receipt[arm]:
            low, high = counts["ci95"]
            observed = f"{counts['failures']} of {counts['runs']} runs failed, 95 % interval {low:.1%} to {high:.1%}"
            rows.append(Evidence(statement=f"{name}: {arm}", observed=observed))
    rows.append(
        Evidence(
            statement=f"{name}: {receipt['statistics']['test']}",
            observed=f"p = {receipt['p_value']:.2g}",
            expected=f"at most {1 - receipt['design']['confidence']:.2g} for VERIFIED",
        )
    )
    return rows
