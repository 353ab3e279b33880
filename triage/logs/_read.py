"""Reads logs: blocks, marks, jobs, failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from triage.logs._command import CaseLike, plan_command, read_launch
from triage.logs._diagnose import Diagnosis
from triage.logs._failure import Failure
from triage.logs._junit import Suites, is_junit, read_junit
from triage.logs._matcher import make_matcher
from triage.logs._rules import Rules
from triage.logs._runs import JobRun, Outcome, make_run
from triage.logs._scan import Mark, Scanner
from triage.logs._source import read_blocks
from triage.logs._structure import STRUCTURE, Job, split_jobs


@dataclass(frozen=True, kw_only=True)
class LogReport:
    """What one log holds: the runs of its jobs with their failures, and what was read.

    ``bytes`` and ``lines`` are counted after unpacking, ``seconds`` is wall time. A job that passed is a run too.
    """

    log: str
    runs: tuple[JobRun, ...]
    bytes: int
    lines: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The failures of all jobs, in the order of the log."""
        return tuple(failure for run in self.runs for failure in run.failures)


def read_logs(
    paths: Sequence[str],
    *,
    cases: Sequence[CaseLike] = (),
    rules: Rules | None = None,
    on_log: Callable[[LogReport], None] | None = None,
) -> Iterator[LogReport]:
    """The reports of many logs, one after the other; ``on_log`` is told of each, for a progress bar.

    Raises what `read_log` raises, at the log that it is of.
    """
    for path in paths:
        report = read_log(path, cases=cases, rules=rules)
        if on_log:
            on_log(report)
        yield report


def read_log(path: str, *, cases: Sequence[CaseLike] = (), rules: Rules | None = None) -> LogReport:
    """The failures of a log: a file (plain, gzip or zstd; Buildkite, pytest or JUnit XML), or ``-`` for standard input.

    One pass, a block at a time. ``cases`` are those that a failure may be matched with; ``rules`` replace triage's own.
    Raises `LogError` for what cannot be read, `RuleError` for rules that do not compile.
    """
    notes: list[str] = []
    blocks = read_blocks(path, on_cut=lambda: notes.append("the packed log is cut off or damaged: read up to there"))
    return _read(path, blocks, cases, rules, notes)


def read_text(text: str, *, cases: Sequence[CaseLike] = (), rules: Rules | None = None) -> LogReport:
    """The failures of a log that is in memory already: what a command printed, say.

    >>> read_text("RuntimeError: HIP error: invalid argument\\n").failures[0].family.value
    'gpu_fault'
    """
    return _read("", iter([text.encode("utf-8", "replace")]), cases, rules, [])


def sign_text(text: str, *, rules: Rules | None = None) -> str | None:
    """The signature of the first failure that a text shows; None where it shows none.

    Times, addresses, paths and numbers do not matter to it: the same failure has the same signature in every run.

    >>> a = sign_text("ValueError: No available memory for the cache blocks.\\nexited with status 1\\n")
    >>> a == sign_text("noise\\n[2026-04-15T18:44:57Z] ValueError: No available memory for the cache blocks.\\n")
    True
    >>> sign_text("all is well") is None
    True
    """
    failures = read_text(text, rules=rules).failures
    return failures[0].signature if failures else None


def _read(
    path: str, blocks: Iterator[bytes], cases: Sequence[CaseLike], rules: Rules | None, notes: list[str]
) -> LogReport:
    began = time.perf_counter()
    matcher = make_matcher(STRUCTURE, rules)
    first = next(blocks, b"")
    if is_junit(first):
        suites = read_junit(_chain(first, blocks), matcher, name=path)
        size, lines = suites.bytes, suites.lines
        runs = [_make_junit_run(path, name, suites, cases) for name in suites.failures]
    else:
        scan = Scanner(matcher, len(STRUCTURE)).run(_chain(first, blocks))
        size, lines = scan.bytes, scan.lines
        jobs = split_jobs(scan.marks)
        jobs[0].times_s[:0] = [scan.began_s] if scan.began_s is not None else []
        jobs[-1].times_s += [scan.ended_s] if scan.ended_s is not None else []
        runs = [_make_run(path, job, Diagnosis(job, scan, matcher).run(), cases) for job in jobs if lines]
        notes += [f"{scan.dropped} further lines that say something were not looked at"] if scan.dropped else []
    if not size:
        notes.append("the log is empty")
    return LogReport(
        log=path, runs=tuple(runs), bytes=size, lines=lines, seconds=time.perf_counter() - began, notes=tuple(notes)
    )


def _make_run(path: str, job: Job, found: Sequence[Failure], cases: Sequence[CaseLike]) -> JobRun:
    known = (replace(f, captures=_read_facts(job.launches, f) | dict(f.captures)) for f in found)
    failures = tuple(_finish(failure, job.command, cases, path) for failure in known)
    return make_run(
        log=path,
        job=job.name,
        outcome=_judge(job, failures),
        facts=job.facts,
        began_s=job.times_s[0] if job.times_s else None,
        ended_s=job.times_s[-1] if job.times_s else None,
        failures=failures,
    )


def _read_facts(launches: Sequence[Mark], failure: Failure) -> dict[str, str]:
    """What is said of the failure's own server: the last one that its test started, else the last before its root."""
    own = [mark for mark in launches if failure.test and mark.running == failure.test]
    before = [mark for mark in launches if mark.n <= failure.root.n and not (failure.test and mark.running)]
    return read_launch((own or before)[-1].text) if own or before else {}


def _judge(job: Job, failures: Sequence[Failure]) -> Outcome:
    """Passed only where the log says so: an exit status of 0, or whole sessions in which nothing failed."""
    if failures:
        return Outcome.FAILED
    whole = bool(job.sessions) and all(session.end for session in job.sessions)
    return Outcome.PASSED if job.exit_status == 0 or (whole and job.exit_status is None) else Outcome.UNKNOWN


def _make_junit_run(path: str, name: str, suites: Suites, cases: Sequence[CaseLike]) -> JobRun:
    failures = tuple(_finish(failure, "", cases, path) for failure in suites.failures[name])
    return make_run(
        log=path,
        job=name or None,
        outcome=Outcome.FAILED if failures else Outcome.PASSED,
        facts={"agent": suites.hosts[name]} if name in suites.hosts else {},
        began_s=suites.times_s.get(name),
        ended_s=None,
        failures=failures,
    )


def _finish(failure: Failure, command: str, cases: Sequence[CaseLike], path: str) -> Failure:
    plan = plan_command(failure, command, cases)
    return replace(failure, case=plan.case, command=plan.command, with_model=plan.with_model, log=path)


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterable[bytes]:
    if first:
        yield first
    yield from rest
