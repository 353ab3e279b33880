"""From the logs of a red build to a verdict."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from triage.engine.versions import read_versions
from triage.logs._clusters import Cluster
from triage.logs._nodes import Judgement
from triage.logs._read import LogReport
from triage.logs._retries import Ledger, count_causes
from triage.logs._runs import JobRun, Outcome
from triage.logs._source import read_blocks
from triage.result import Arm, Evidence, Family, Result, Verdict

_SHOWN = 8


@dataclass(frozen=True)
class _Decision:
    verdict: Verdict
    cause: str


def classify_logs(
    *, case: str, reports: Sequence[LogReport], judgements: Sequence[Judgement], ledger: Ledger
) -> Result:
    """What logs say of a red build. A log shows a failure of another machine, so nothing is reproduced by reading it.

    - ``MECHANISM``: a failure of the code has a root that names its family; the most frequent one is the cause;
    - ``FLAKY``: all such failures passed when their job was run again;
    - ``INFRA``: every failure is the node's or a service's;
    - ``NOT_REPRODUCED``: every log says that its job passed;
    - ``INCONCLUSIVE``: no failure has a root that any rule knows, or a log does not say how its job ended.
    """
    clusters = [judgement.cluster for judgement in judgements]
    runs = [run for report in reports for run in report.runs]
    main = _choose_main(clusters)
    decision = _decide(clusters, runs, main, ledger)
    failure = main.occurrences[0].failure if main else None
    return Result(
        case=case,
        family=main.family if main else Family.UNKNOWN,
        verdict=decision.verdict,
        cause=decision.cause,
        needs_gpu=_say_where(main) if decision.verdict is Verdict.MECHANISM and main else None,
        next_command=(failure.command if failure else "") or f"triage run {case} -p 'files=[\"LOG\"]'",
        arms=tuple(_judge_arm(judgement, ledger) for judgement in judgements[:_SHOWN]),
        evidence=tuple(_list_evidence(clusters, runs, ledger)),
        findings={
            "runs": [run.to_json() for run in runs],
            "clusters": [judgement.cluster.to_json() | judgement.to_json() for judgement in judgements],
            "retries": [row.to_json() for row in count_causes(ledger.retries)],
        },
        versions=read_versions(),
        snapshots={report.log.rpartition("/")[2]: hash_log(report.log) for report in reports if report.log},
    )


def hash_log(path: str) -> str:
    """What a result records of a log: a hash of its unpacked bytes."""
    digest = hashlib.sha256()
    for block in read_blocks(path):
        digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"


def _choose_main(clusters: Iterable[Cluster]) -> Cluster | None:
    """The failure that the answer is about: of the code before infrastructure, known before unknown, frequent first."""
    ordered = sorted(
        clusters,
        key=lambda c: (c.infra, c.family is Family.UNKNOWN, not _has_case(c), -len(c.occurrences), c.signature),
    )
    return next(iter(ordered), None)


def _decide(clusters: Sequence[Cluster], runs: Sequence[JobRun], main: Cluster | None, ledger: Ledger) -> _Decision:
    if main is None:
        return _decide_without_failure(runs)
    told = f"{_count(clusters)}. "
    root = f"{main.family.value}: {main.occurrences[0].failure.root.text}"
    if main.infra:
        return _Decision(Verdict.INFRA, f"{told}Every one is the node or a service; the most frequent is {root}")
    if main.family is Family.UNKNOWN:
        return _Decision(Verdict.INCONCLUSIVE, f"{told}No rule knows the root of what failed in the code: {root}")
    code = [c for c in clusters if not c.infra]
    passed_again = {id(r.failed) for r in ledger.retries if r.again.outcome is Outcome.PASSED}
    if all(id(run) in passed_again for cluster in code for run in cluster.runs):
        return _Decision(Verdict.FLAKY, f"{told}Every failure of the code passed when its job was run again: {root}")
    return _Decision(Verdict.MECHANISM, f"{told}First of the code: {root}")


def _decide_without_failure(runs: Sequence[JobRun]) -> _Decision:
    unclear = sum(run.outcome is not Outcome.PASSED for run in runs)
    if not runs:
        return _Decision(Verdict.INCONCLUSIVE, "The logs are empty.")
    if unclear:
        return _Decision(
            Verdict.INCONCLUSIVE, f"No failure was found, but {unclear} of {len(runs)} runs do not say how they ended."
        )
    return _Decision(Verdict.NOT_REPRODUCED, f"Nothing failed: {len(runs)} of {len(runs)} runs passed.")


def _judge_arm(judgement: Judgement, ledger: Ledger) -> Arm:
    cluster = judgement.cluster
    retried = [r for r in ledger.retries if any(r.failed is run for run in cluster.runs)]
    passed = sum(r.again.outcome is Outcome.PASSED for r in retried)
    verdict = Verdict.INFRA if cluster.infra else Verdict.MECHANISM
    if cluster.family is Family.UNKNOWN:
        verdict = Verdict.INCONCLUSIVE
    elif not cluster.infra and retried and passed == len(retried) == len(cluster.runs):
        verdict = Verdict.FLAKY
    again = f"; passed on {passed} of {len(retried)} retries" if retried else ""
    what = f"{cluster.wordings[0]} ({len(cluster.occurrences)} times{again})"
    bound = f"bound to the {judgement.binding.value}" if judgement.place else f"node or code: {judgement.binding.value}"
    return Arm(name=f"{cluster.family.value} {cluster.signature}", verdict=verdict, cause=f"{what}; {bound}")


def _list_evidence(clusters: Sequence[Cluster], runs: Sequence[JobRun], ledger: Ledger) -> Iterable[Evidence]:
    outcomes = Counter(run.outcome for run in runs)
    said = ", ".join(f"{outcomes[outcome]} {outcome.value}" for outcome in Outcome if outcomes[outcome])
    yield Evidence(statement="runs of jobs", observed=said or "none")
    yield Evidence(statement="failures, and their kinds", observed=_count(clusters))
    for cluster in clusters[:_SHOWN]:
        failure = cluster.occurrences[0].failure
        place = f"{failure.log.rpartition('/')[2]}:{failure.root.n}"
        yield Evidence(statement=f"root, {place}", observed=failure.root.text, expected=None)
    passed = sum(retry.again.outcome is Outcome.PASSED for retry in ledger.retries)
    yield Evidence(statement="retries that passed", observed=f"{passed} of {len(ledger.retries)}")


def _say_where(main: Cluster) -> str:
    pools = main.list_places("pool")
    where = f" ({', '.join(pools)})" if pools else ""
    return f"A log shows what happened elsewhere{where}; the next command tries it here."


def _count(clusters: Sequence[Cluster]) -> str:
    failures = sum(len(cluster.occurrences) for cluster in clusters)
    code = sum(not cluster.infra for cluster in clusters)
    return (
        f"{failures} failures of {len(clusters)} kinds, {code} of the code and {len(clusters) - code} of infrastructure"
    )


def _has_case(cluster: Cluster) -> bool:
    return cluster.occurrences[0].failure.case is not None
