"""What many logs hold: tables with a row for each failure, cluster, node or cause of retries; and what to run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from triage.logs._clusters import Cluster, Occurrence
from triage.logs._command import explain_no_command
from triage.logs._failure import Failure
from triage.logs._nodes import Judgement
from triage.logs._retries import LedgerRow
from triage.logs._runs import JobRun, Outcome
from triage.result import Family

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 100  # characters of a root line in the table of clusters
_FAILURE_COLUMNS = [
    *("family", "infra", "job", "test", "place", "root"),
    *("began", "node", "pool", "build", "commit", "signature", "log"),
]
_CLUSTER_COLUMNS = [
    *("family", "failures", "infra", "first seen", "jobs", "nodes", "pools", "bound to"),
    *("root", "wordings", "signature"),
]


def tabulate_failures(runs: Iterable[JobRun]) -> pd.DataFrame:
    """One row for each failure: where it was, what it is, its root and its place in the log."""
    import pandas as pd

    rows = [
        {
            "family": failure.family.value,
            "infra": failure.infra,
            "job": run.job,
            "test": failure.test,
            "place": f"{run.log.rpartition('/')[2]}:{failure.root.n}",
            "root": failure.root.text,
            "began": run.began,
            "node": run.node,
            "pool": run.pool,
            "build": run.build,
            "commit": run.commit,
            "signature": failure.signature,
            "log": run.log,
        }
        for run in runs
        for failure in run.failures
    ]
    return pd.DataFrame(rows, columns=_FAILURE_COLUMNS)


def tabulate_clusters(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """One row for each cluster: how often and where it was seen, since when, and what it is bound to."""
    import pandas as pd

    rows = [
        {
            "family": j.cluster.family.value,
            "failures": len(j.cluster.occurrences),
            "infra": j.cluster.infra,
            "first seen": _say_first(j.cluster),
            "jobs": len(j.cluster.list_places("job")),
            "nodes": len(j.cluster.list_places("node")),
            "pools": ", ".join(j.cluster.list_places("pool")),
            "bound to": j.binding.value,
            "root": _shorten(j.cluster.wordings[0]),
            "wordings": len(j.cluster.wordings),
            "signature": j.cluster.signature,
        }
        for j in judgements
    ]
    return pd.DataFrame(rows, columns=_CLUSTER_COLUMNS)


def tabulate_nodes(runs: Iterable[JobRun]) -> pd.DataFrame:
    """One row for each node: its pools, its runs, and its failures by family. Runs without a node are one row, "?"."""
    import pandas as pd

    known = [run for run in runs if run.outcome is not Outcome.UNKNOWN or run.node]
    families = [f.value for f in Family if any(failure.family is f for run in known for failure in run.failures)]
    rows = []
    for node in sorted({run.node or "?" for run in known}, key=lambda name: (name == "?", name)):
        here = [run for run in known if (run.node or "?") == node]
        failed = [run for run in here if run.outcome is Outcome.FAILED]
        found = [failure.family.value for run in here for failure in run.failures]
        rows.append(
            {
                "node": node,
                "pools": ", ".join(sorted({run.pool for run in here if run.pool})),
                "runs": len(here),
                "failed runs": len(failed),
                **{family: found.count(family) for family in families},
            }
        )
    return pd.DataFrame(rows, columns=["node", "pools", "runs", "failed runs", *families])


def tabulate_retries(rows: Sequence[LedgerRow]) -> pd.DataFrame:
    """One row for each cause: how often a retry passed, and its share of all that passed, with 95 % intervals."""
    import pandas as pd

    shown = [
        {
            "cause": row.family.value,
            "infra": row.infra,
            "retries": row.retries,
            "passed": row.passed,
            "rate": f"{row.rate:.0%}",
            "95 % interval": f"{row.rate_low:.0%} to {row.rate_high:.0%}",
            "share of all that passed": _say_share(row),
        }
        for row in rows
    ]
    columns = ["cause", "infra", "retries", "passed", "rate", "95 % interval", "share of all that passed"]
    return pd.DataFrame(shown, columns=columns)


def tabulate_evidence(failure: Failure) -> pd.DataFrame:
    """One row for each line that bears on a failure, with its number in the log."""
    import pandas as pd

    rows = [
        {"line": line.n, "is": "root" if line.n == failure.root.n else "", "text": line.text}
        for line in failure.evidence
    ]
    return pd.DataFrame(rows, columns=["line", "is", "text"])


def render_commands(occurrences: Iterable[Occurrence]) -> str:
    """What reproduces each failure: its case, what the log says of the case's parameters, and the commands."""
    parts = []
    for failure in (one.failure for one in occurrences):
        known = ", ".join(f"{name} {value}" for name, value in failure.captures.items())
        case = f"case {failure.case}" if failure.case else "no case"
        rows = [f"{failure.family.value} {failure.signature}: {'; '.join(text for text in (case, known) if text)}"]
        rows.append(f"    {failure.command or explain_no_command(failure)}")
        if failure.with_model:
            rows.append(f"    {failure.with_model}    # with the job's own model, where the Hub cache has it")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _say_first(cluster: Cluster) -> str:
    first = cluster.first_seen
    if first is None:
        return "not dated"
    return f"{first:%Y-%m-%d %H:%M}"


def _say_share(row: LedgerRow) -> str:
    if row.share is None:
        return "none passed"
    return f"{row.share:.0%} ({row.share_low:.0%} to {row.share_high:.0%})"


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
