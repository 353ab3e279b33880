"""CI logs: from a red log to its failures, their families, and the commands that reproduce them.

A log is read once, a block at a time: see `read_log`. What a line says is data: ``rules.toml`` beside this file. Many
logs are compared by the runs of jobs that they hold: `cluster_failures`, `judge_bindings`, `pair_retries`.

What another room may ask of a failure's text: `sign_text` (the signature of what a command printed), or
`make_signature` and `mask_line`, which it is made of.
"""

from triage.logs._builds import KnownRun, add_builds, read_builds
from triage.logs._classify import classify_logs
from triage.logs._clusters import Cluster, Occurrence, cluster_failures
from triage.logs._command import CaseLike, explain_no_command
from triage.logs._failure import Failure, LogLine
from triage.logs._issue import Issue, render_issue
from triage.logs._nodes import Binding, Judgement, judge_bindings
from triage.logs._plot import explain_families, explain_nodes, plot_families, plot_nodes
from triage.logs._read import LogReport, read_log, read_logs, read_text, sign_text
from triage.logs._retries import Ledger, LedgerRow, Retry, count_causes, explain_retries, pair_retries
from triage.logs._rules import Rule, Rules, read_rules
from triage.logs._runs import JobRun, Outcome
from triage.logs._sample import write_sample
from triage.logs._signature import make_signature, mask_line
from triage.logs._source import list_logs
from triage.logs._tables import (
    render_commands,
    tabulate_clusters,
    tabulate_evidence,
    tabulate_failures,
    tabulate_nodes,
    tabulate_retries,
)

__all__ = [
    "Binding",
    "CaseLike",
    "Cluster",
    "Failure",
    "Issue",
    "JobRun",
    "Judgement",
    "KnownRun",
    "Ledger",
    "LedgerRow",
    "LogLine",
    "LogReport",
    "Occurrence",
    "Outcome",
    "Retry",
    "Rule",
    "Rules",
    "add_builds",
    "classify_logs",
    "cluster_failures",
    "count_causes",
    "explain_families",
    "explain_no_command",
    "explain_nodes",
    "explain_retries",
    "judge_bindings",
    "list_logs",
    "make_signature",
    "mask_line",
    "pair_retries",
    "plot_families",
    "plot_nodes",
    "read_builds",
    "read_log",
    "read_logs",
    "read_rules",
    "read_text",
    "render_commands",
    "render_issue",
    "sign_text",
    "tabulate_clusters",
    "tabulate_evidence",
    "tabulate_failures",
    "tabulate_nodes",
    "tabulate_retries",
    "write_sample",
]
