"""Is a failure bound to a node, or does it follow the code wherever that runs? An exact test decides, or nobody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from triage.errors import MissingDependencyError
from triage.logs._clusters import Cluster
from triage.logs._runs import JobRun, Outcome

ALPHA = 0.05


class Binding(StrEnum):
    """What a failure is bound to. ``UNDECIDED``: the runs do not tell it from chance."""

    NODE = "node"
    CODE = "code"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the runs say of one cluster.

    ``place`` is the node or the job that stands out, with ``failed`` of its ``ran`` runs and ``other_failed`` of
    ``other_ran`` elsewhere; ``p_value`` is exact, one-sided, and corrected for all places that were looked at.
    """

    cluster: Cluster
    binding: Binding
    because: str
    place: str | None = None
    failed: int = 0
    ran: int = 0
    other_failed: int = 0
    other_ran: int = 0
    p_value: float | None = None

    def explain(self) -> str:
        """The judgement as a sentence."""
        what = f"{self.cluster.family.value} {self.cluster.signature}"
        if self.place is None or self.p_value is None:
            return f"{what}: undecided, {self.because}."
        bound = f"bound to the {self.binding.value} ({self.place}), {self.because}"
        return f"{what}: {bound}; exact test, p = {self.p_value:.2g}."

    def to_json(self) -> dict[str, Any]:
        """What ``triage log --json`` adds to a row of ``clusters``."""
        return {
            "binding": self.binding.value,
            "because": self.because,
            "place": self.place,
            "p_value": self.p_value,
        }


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One place of one cluster: in each stratum, (runs, failed runs, runs in this place, failed runs in this place)."""

    place: str
    strata: tuple[tuple[int, int, int, int], ...]
    p_value: float
    smallest_p: float

    def describe(self, cluster: Cluster, binding: Binding, because: str, p_value: float) -> Judgement:
        ran, failed = sum(s[2] for s in self.strata), sum(s[3] for s in self.strata)
        return Judgement(
            cluster=cluster,
            binding=binding,
            because=because,
            place=self.place,
            failed=failed,
            ran=ran,
            other_failed=sum(s[1] for s in self.strata) - failed,
            other_ran=sum(s[0] for s in self.strata) - ran,
            p_value=p_value,
        )


def judge_bindings(clusters: Sequence[Cluster], runs: Iterable[JobRun], *, alpha: float = ALPHA) -> list[Judgement]:
    """For each cluster, whether a node or the code stands out among the runs that could have shown it.

    *Node*: among runs of the same job, one node fails so more often than the others do. *Code*: among runs on the same
    node, one job does, on two nodes at least, and no node stands out. Both are the exact conditional test of a common
    effect over strata (Fisher's, where there is one stratum), one-sided, with Tarone's correction for the number of
    places looked at (Biometrics 46, 1990), at a level of ``alpha``. A run that failed of something else tells nothing
    and is left out, as is one whose node, job or ending is not known. Raises `MissingDependencyError` without scipy.
    """
    known = [run for run in runs if run.node and run.job and run.outcome is not Outcome.UNKNOWN]
    by_node: dict[int, list[_Trial]] = {}
    by_job: dict[int, list[_Trial]] = {}
    for index, cluster in enumerate(clusters):
        failed = {id(run) for run in cluster.runs}
        usable = [run for run in known if id(run) in failed or run.outcome is Outcome.PASSED]
        jobs = {run.job for run in usable if id(run) in failed}
        nodes = {run.node for run in usable if id(run) in failed}
        same_jobs = [run for run in usable if run.job in jobs]
        same_nodes = [run for run in usable if run.node in nodes]
        by_node[index] = _try_places(same_jobs, failed, place=_read_node, stratum=_read_job)
        by_job[index] = _try_places(same_nodes, failed, place=_read_job, stratum=_read_node)
    node_level = correct_level([t.smallest_p for found in by_node.values() for t in found], alpha=alpha)
    job_level = correct_level([t.smallest_p for found in by_job.values() for t in found], alpha=alpha)
    return [
        _judge(cluster, by_node[n], by_job[n], node_level, job_level, alpha=alpha) for n, cluster in enumerate(clusters)
    ]


def compute_p_value(strata: Iterable[tuple[int, int, int, int]]) -> tuple[float, float]:
    """The exact chance of at least as many failures in a place as were seen, and the smallest that could have been.

    A stratum is (runs, failed runs, runs in the place, failed runs in the place). The place's failures are
    hypergeometric in each stratum when nothing binds them, and their sum is the convolution.

    >>> [round(p, 4) for p in compute_p_value([(12, 4, 4, 4)])]  # 4 of 4 here, 0 of 8 elsewhere
    [0.002, 0.002]
    >>> compute_p_value([(5, 5, 2, 2)])  # all fail everywhere: nothing can be told
    (1.0, 1.0)
    """
    np, hypergeom = _import_scipy()
    chances = np.ones(1)
    lowest = seen = 0
    for total, failed, here, failed_here in strata:
        least, most = max(0, here - (total - failed)), min(here, failed)
        chances = np.convolve(chances, hypergeom.pmf(np.arange(least, most + 1), total, failed, here))
        lowest += least
        seen += failed_here
    return min(1.0, float(chances[seen - lowest :].sum())), min(1.0, float(chances[-1]))


def correct_level(smallest: Sequence[float], *, alpha: float) -> int:
    """By how much a chance is to be multiplied when so many places are looked at: Tarone's number.

    A place that could not have reached the level, whatever had happened there, is no look.

    >>> correct_level([0.001, 0.002, 0.5, 1.0], alpha=0.05)
    2
    """
    return next((k for k in range(1, len(smallest) + 1) if sum(p <= alpha / k for p in smallest) <= k), 1)


def _try_places(
    runs: Sequence[JobRun],
    failed: set[int],
    *,
    place: Callable[[JobRun], str],
    stratum: Callable[[JobRun], str],
) -> list[_Trial]:
    strata: dict[str, list[JobRun]] = defaultdict(list)
    for run in runs:
        strata[stratum(run)].append(run)
    trials = []
    for name in sorted({place(run) for run in runs}):
        rows = []
        for members in strata.values():
            here = [run for run in members if place(run) == name]
            if here and len(here) < len(members):  # a stratum with one place alone compares nothing
                rows.append((len(members), _count(members, failed), len(here), _count(here, failed)))
        if rows:
            p_value, smallest_p = compute_p_value(rows)
            trials.append(_Trial(place=name, strata=tuple(rows), p_value=p_value, smallest_p=smallest_p))
    return trials


def _judge(
    cluster: Cluster, by_node: Sequence[_Trial], by_job: Sequence[_Trial], node_k: int, job_k: int, *, alpha: float
) -> Judgement:
    node = min(by_node, key=lambda t: t.p_value, default=None)
    job = min(by_job, key=lambda t: t.p_value, default=None)
    nodes = cluster.list_places("node")
    if node and node.p_value * node_k <= alpha:
        why = f"{_say(node)} there, {_say_others(node)} of the same jobs on other nodes"
        return node.describe(cluster, Binding.NODE, why, node.p_value * node_k)
    if job and job.p_value * job_k <= alpha and len(nodes) > 1:
        why = (
            f"{_say(job)} of the job on {len(nodes)} nodes, {_say_others(job)} of other jobs there; no node stands out"
        )
        return job.describe(cluster, Binding.CODE, why, job.p_value * job_k)
    return Judgement(cluster=cluster, binding=Binding.UNDECIDED, because=_say_why_not(cluster, by_node, node_k, alpha))


def _say_why_not(cluster: Cluster, by_node: Sequence[_Trial], k: int, alpha: float) -> str:
    nodes = cluster.list_places("node")
    if not nodes:
        return "no run of it names its node"
    if not by_node:
        return "nothing to compare with: none of its jobs ran on a second node"
    if min(trial.smallest_p for trial in by_node) * k > alpha:
        return "too few runs: no outcome of them could have told a node from chance"
    least = min(by_node, key=lambda trial: trial.p_value)
    return f"no node stands out beyond chance (p = {min(1.0, least.p_value * k):.2g} for {least.place})"


def _say(trial: _Trial) -> str:
    return f"{sum(s[3] for s in trial.strata)} of {sum(s[2] for s in trial.strata)} runs failed"


def _say_others(trial: _Trial) -> str:
    failed = sum(s[1] - s[3] for s in trial.strata)
    return f"{failed} of {sum(s[0] - s[2] for s in trial.strata)}"


def _count(runs: Iterable[JobRun], failed: set[int]) -> int:
    return sum(id(run) in failed for run in runs)


def _read_node(run: JobRun) -> str:
    return run.node or ""


def _read_job(run: JobRun) -> str:
    return run.job or ""


def _import_scipy() -> tuple[Any, Any]:
    try:
        import numpy as np
        from scipy.stats import hypergeom
    except ImportError as error:
        raise MissingDependencyError("Comparing nodes needs scipy.", hint="Install it: pip install scipy") from error
    return np, hypergeom
