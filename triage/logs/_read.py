"""Reads one log: blocks, marks, jobs, failures."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from triage.logs._command import CaseLike, plan_command
from triage.logs._diagnose import Diagnosis
from triage.logs._failure import Failure, LogReport
from triage.logs._junit import is_junit, read_junit
from triage.logs._matcher import make_matcher
from triage.logs._rules import Rules
from triage.logs._scan import Scanner
from triage.logs._source import read_blocks
from triage.logs._structure import STRUCTURE, split_jobs


def read_log(path: str, *, cases: Sequence[CaseLike] = (), rules: Rules | None = None) -> LogReport:
    """The failures of a log: a file (plain, gzip or zstd; Buildkite, pytest or JUnit XML), or ``-`` for standard input.

    One pass, a block at a time. ``cases`` are those that a failure may be matched with; ``rules`` replace triage's own.
    Raises `LogError` for what cannot be read, `RuleError` for rules that do not compile.
    """
    began = time.perf_counter()
    matcher = make_matcher(STRUCTURE, rules)
    blocks = read_blocks(path)
    first = next(blocks, b"")
    if is_junit(first):
        found, size, lines = read_junit(_chain(first, blocks), matcher, name=path)
        pairs = [(failure, "") for failure in found]
        notes: list[str] = []
    else:
        scan = Scanner(matcher, len(STRUCTURE)).run(_chain(first, blocks))
        size, lines = scan.bytes, scan.lines
        jobs = split_jobs(scan.marks)
        pairs = [(failure, job.command) for job in jobs for failure in Diagnosis(job, scan, matcher).run()]
        launches = [mark.text for job in jobs for mark in job.launches]
        pairs = [(_with_facts(failure, launches), command) for failure, command in pairs]
        notes = [f"{scan.dropped} further lines that say something were not looked at"] if scan.dropped else []
    if not size:
        notes.append("the log is empty")
    failures = tuple(_finish(failure, command, cases, path) for failure, command in pairs)
    return LogReport(
        log=path, failures=failures, bytes=size, lines=lines, seconds=time.perf_counter() - began, notes=tuple(notes)
    )


def _with_facts(failure: Failure, launches: Sequence[str]) -> Failure:
    from triage.logs._command import read_launch

    facts = read_launch(launches[-1]) if launches else {}
    return replace(failure, captures=facts | dict(failure.captures))


def _finish(failure: Failure, command: str, cases: Sequence[CaseLike], path: str) -> Failure:
    case, planned = plan_command(failure, command, cases)
    return replace(failure, case=case, command=planned, log=path)


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterable[bytes]:
    if first:
        yield first
    yield from rest
