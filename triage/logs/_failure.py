"""What is found in a log: failures, each with its root, its evidence and the command that reproduces it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triage.redaction import redact_text
from triage.result import Family

_SHOWN = 400


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line of the log: ``n`` counts from 1, ``text`` is cleaned, shortened, and without secrets."""

    n: int
    text: str

    @classmethod
    def make(cls, n: int, text: str) -> LogLine:
        """The line as it may be shown.

        >>> LogLine.make(3, "HF_TOKEN=hf_abcdefghijklmnopqrst").text
        'HF_TOKEN=(not recorded)'
        """
        text = redact_text(text)
        return cls(n=n, text=text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failure of a test, or of a job where no test failed (``test`` is None).

    ``root`` is the line that names the cause, ``consequences`` what followed from it, ``also`` the tests that failed
    for the same root. ``infra``: the node or a service, not the code. ``signature`` is the same in every run,
    ``masked`` is what it is made of, ``named`` the words by which two failures of one rule differ in kind. ``rule`` is
    the rule that named the family, "" where none did. ``note`` says how the job ended where no test failed. ``case``
    and ``command`` reproduce it; ``with_model`` does so with the job's own model, where the local Hub cache has it.
    """

    test: str | None
    job: str | None
    family: Family
    infra: bool
    root: LogLine
    signature: str
    masked: str
    rule: str = ""
    note: str = ""
    evidence: tuple[LogLine, ...] = ()
    consequences: tuple[LogLine, ...] = ()
    also: tuple[str, ...] = ()
    captures: Mapping[str, str] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    log: str = ""
    case: str | None = None
    command: str = ""
    with_model: str = ""

    def to_json(self) -> dict[str, Any]:
        """The contract of ``triage log --json``."""
        return {
            "test": self.test,
            "job": self.job,
            "family": self.family.value,
            "signature": self.signature,
            "infra": self.infra,
            "lines": [{"n": line.n, "text": line.text} for line in self.evidence],
            "case": self.case,
            "command": self.command,
            "command_with_model": self.with_model,
            "log": self.log,
            "root": {"n": self.root.n, "text": self.root.text},
            "consequences": [{"n": line.n, "text": line.text} for line in self.consequences],
            "also": list(self.also),
            "captures": dict(self.captures),
            "rule": self.rule or None,
            "note": self.note,
            "masked": self.masked,
        }
