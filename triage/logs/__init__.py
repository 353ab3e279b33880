"""CI logs: from a red log to its failures, their families, and the commands that reproduce them.

A log is read once, a block at a time: see `read_log`. What a line says is data: ``rules.toml`` beside this file.
"""

from triage.logs._command import CaseLike
from triage.logs._failure import Failure, LogLine
from triage.logs._read import LogReport, read_log, read_logs, read_text, sign_text
from triage.logs._rules import Rule, Rules, read_rules
from triage.logs._runs import JobRun, Outcome
from triage.logs._signature import make_signature, mask_line
from triage.logs._source import list_logs

__all__ = [
    "CaseLike",
    "Failure",
    "JobRun",
    "LogLine",
    "LogReport",
    "Outcome",
    "Rule",
    "Rules",
    "list_logs",
    "make_signature",
    "mask_line",
    "read_log",
    "read_logs",
    "read_rules",
    "read_text",
    "sign_text",
]
