"""From the lines of one job to its failures: which test, which root, and what merely followed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from triage.logs._clues import Clue, choose_root, read_message
from triage.logs._failure import Failure, LogLine
from triage.logs._matcher import Match, Matcher
from triage.logs._scan import Mark, Scan
from triage.logs._sections import (
    find_error,
    find_loose,
    list_details,
    list_said,
    summarise_section,
    take_section,
)
from triage.logs._signature import list_names, make_signature, mask_line
from triage.logs._structure import Build, Job, Section, Session, Summary
from triage.logs._text import is_quiet, strip_process
from triage.result import Family

_PROGRESS = re.compile(r"\bPASSED\b|\[ *\d{1,3}%\]|^[.sxRF]{3,}$|throughput: ")
_OF_A_TEST = {Family.GPU_HANG, Family.GPU_FAULT}  # infrastructure, and yet set off by what ran
_OUTSIDE = {124: "at a time limit", 137: "by SIGKILL", 143: "by SIGTERM"}


@dataclass(kw_only=True)
class _Finding:
    """What is known of one failure before it is written down."""

    test: str | None
    clues: list[Clue] = field(default_factory=list)
    lines: list[Mark] = field(default_factory=list)
    details: list[Mark] = field(default_factory=list)
    message: str = ""
    note: str = ""
    root: Clue | None = None
    root_mark: Mark | None = None


class Diagnosis:
    """The failures of one job."""

    def __init__(self, job: Job, scan: Scan, matcher: Matcher) -> None:
        self._job, self._scan, self._matcher = job, scan, matcher
        self._seen: dict[int, Match | None] = {}

    def run(self) -> list[Failure]:
        """Failed tests if there are any, else what made the job fail, else nothing."""
        findings: list[_Finding] = []
        folded: dict[int, list[_Finding]] = {}
        for session in self._job.sessions:
            for finding in self._read_session(session):
                root = self._find_shared_root(finding, findings)
                if root is None:
                    findings.append(finding)
                else:
                    folded.setdefault(id(root), []).append(finding)
        if findings:
            return [self._write(f, folded.get(id(f), ())) for f in findings]
        ended = self._read_nameless() or self._read_job()
        return [self._write(ended, ())] if ended else []

    # --- one session of pytest

    def _read_session(self, session: Session) -> Iterable[_Finding]:
        sections = list(session.sections)
        if session.summary:
            for entry in session.summary:
                yield self._read_test(session, entry, take_section(sections, entry.test))
            return
        for section in sections:
            yield self._read_test(session, summarise_section(section), section)
        if sections or (session.end and not session.failed):
            return
        reruns = {test for word, test, _ in session.inline if word == "RERUN"}
        for word, test, mark in session.inline:
            if word != "RERUN" and test and not (test in reruns and session.end):
                entry = Summary(word=word, test=test, message="", n=mark.n, text=mark.text, marks=[])
                yield self._read_test(session, entry, None)

    def _read_test(self, session: Session, entry: Summary, section: Section | None) -> _Finding:
        own = [*(list_said(section.marks) if section else find_loose(session, entry.test)), *entry.marks]
        finding = _Finding(test=entry.test, message=entry.message)
        finding.clues = [*self._read_clues(own, own=True), *self._read_live(session, entry.test)]
        finding.lines = [m for m in own if m.n == entry.n] or [_as_mark(entry)]
        finding.root = choose_root(finding.clues, self._matcher)
        finding.details = list_details(own)
        if finding.root is None or finding.root.match.rule.weak:
            finding.root_mark = find_error(own) or (None if finding.root else _as_mark(entry))
        elif finding.root.match.rule.consequence_of:
            finding.root_mark = self._find_raised(session, entry.test)
        return finding

    def _find_raised(self, session: Session, test: str) -> Mark | None:
        """What a process of the engine raised while the test ran, although no rule knows it: the root of what followed.

        The first one that a process signs; else the first at all. The like of a test that went on is not looked at.
        """
        raised = [m for m in session.live if Build.RAISED in m.structure and m.running == test and not is_quiet(m.text)]
        raised = [m for m in raised if not m.rules or self._match(m) is None]
        return next((m for m in raised if strip_process(m.text) != m.text), next(iter(raised), None))

    def _read_clues(self, marks: Iterable[Mark], *, own: bool) -> list[Clue]:
        clues = []
        for mark in marks:
            if mark.rules and (own or not is_quiet(mark.text)):
                match = self._match(mark)
                if match and (own or not match.rule.weak):
                    clues.append(Clue(mark=mark, match=match, own=own))
        return clues

    def _read_live(self, session: Session, test: str) -> list[Clue]:
        """What was printed while the test ran; without a test's name on the way, what no test can claim."""
        clues = self._read_clues(session.live, own=False)
        return [c for c in clues if c.mark.running == test] or [c for c in clues if c.mark.running is None]

    def _find_shared_root(self, finding: _Finding, before: Sequence[_Finding]) -> _Finding | None:
        """The earlier failure that this one follows from: its engine died, or the server of its file did."""
        if finding.root is None or not finding.root.match.rule.consequence_of:
            return None
        rule = finding.root.match.rule
        for earlier in reversed(before):
            if earlier.root is None or _path(earlier.test) != _path(finding.test):
                continue
            killed = any(not clue.own or clue.match.rule.consequence_of for clue in earlier.clues)
            same = rule == earlier.root.match.rule and finding.message == earlier.message
            if same or (killed and rule.follows(earlier.root.match.rule)):
                return earlier
        return None

    # --- a job without a failed test

    def _read_job(self) -> _Finding | None:
        job = self._job
        status = job.exit_status
        open_sessions = [s for s in job.sessions if s.end is None]
        clues = self._read_clues(self._list_outside(), own=False)
        failed = (status not in {None, 0}) or job.cancelled is not None
        if not failed and (status == 0 or (job.sessions and not open_sessions)):
            return self._read_empty()
        clues = _keep_last_test(clues)
        root = choose_root(clues, self._matcher)
        finding = _Finding(test=None, clues=clues, root=root)
        if root and root.is_root:
            blames = not root.match.rule.infra or root.match.rule.family in _OF_A_TEST
            finding.test = root.mark.running if open_sessions and blames else None
            finding.note = self._say_end()
            return finding
        if not failed:
            return self._read_cut(open_sessions) or self._read_excerpt(finding)
        return self._read_end(finding, bool(open_sessions))

    def _read_nameless(self) -> _Finding | None:
        """Tests that pytest counts as failed and does not name (``--no-summary``)."""
        for session in self._job.sessions:
            if session.failed and session.end:
                clues = self._read_clues([*session.live, *session.loose], own=False)
                counted = ", ".join(f"{n} {word}" for word, n in (session.counts or {}).items())
                finding = _Finding(test=None, clues=clues, note=f"pytest names no test: {counted}")
                finding.root = choose_root(_keep_last_test(clues), self._matcher)
                finding.root_mark = None if finding.root else session.end
                return finding
        return None

    def _list_outside(self) -> list[Mark]:
        """Lines that no passed session explains."""
        marks = list(self._job.outside)
        for session in self._job.sessions:
            marks += session.after if session.end else [*session.live, *session.after, *session.loose]
        if self._job.exit_mark and self._job.exit_mark.rules:
            marks.append(self._job.exit_mark)
        return sorted(marks, key=lambda mark: mark.n)

    def _read_end(self, finding: _Finding, unfinished: bool) -> _Finding:
        """A job that failed, and no line says why: how it ended is all that is known."""
        job, status = self._job, self._job.exit_status
        mark = job.cancelled or job.exit_mark
        weak = choose_root(self._read_weak(), self._matcher)
        empty = self._read_empty()
        progress = unfinished and any(_PROGRESS.search(text) for _, text in self._scan.tail)
        finding.note = self._say_end()
        if job.cancelled or status in _OUTSIDE:
            finding.root_mark = mark
            self._set_family(finding, Family.TIMEOUT if progress or status == 124 or job.cancelled else Family.UNKNOWN)
            finding.note += " while it made progress" if progress else " without a sign of progress"
        elif status in {-1, 255}:
            finding.root_mark = mark
            self._set_family(finding, Family.AGENT_LOST)
        elif weak:
            finding.root, finding.clues = weak, [weak, *finding.clues]
        elif empty:
            return empty
        elif finding.root is None:
            finding.root_mark = mark
        return finding

    def _read_weak(self) -> list[Clue]:
        marks = [m for m in self._list_outside() if m.rules and not is_quiet(m.text)]
        found = [(m, self._match(m)) for m in marks]
        return [Clue(mark=m, match=match, own=True) for m, match in found if match and not match.rule.consequence_of]

    def _read_cut(self, open_sessions: Sequence[Session]) -> _Finding | None:
        """A log of the agent that stops in the middle of a session, without a word of how it ended."""
        empty = self._read_empty()
        if empty or not open_sessions or not self._scan.stamped or not self._scan.tail:
            return empty
        n, text = self._scan.tail[-1]
        mark = Mark(n=n, text=text, shard="", structure=frozenset(), rules=False, running=None)
        finding = _Finding(test=None, root_mark=mark, note="the log ends in the middle of a session of pytest")
        self._set_family(finding, Family.AGENT_LOST)
        return finding

    def _read_excerpt(self, finding: _Finding) -> _Finding | None:
        """A piece of a log that holds pytest's own error and nothing of a session."""
        clues = [clue for clue in self._read_weak() if Build.ERROR_LINE in clue.mark.structure]
        if self._job.sessions or not clues:
            return None
        finding.root, finding.clues = choose_root(clues, self._matcher), clues
        return finding

    def _read_empty(self) -> _Finding | None:
        """A session that ran no test although the job was there to run some."""
        sessions = self._job.sessions
        empty = [s for s in sessions if s.empty and not any((s.counts or {}).values())]
        ran = [s for s in sessions if s not in empty]
        for session in empty:
            if session.empty and (not ran or "deselected" not in session.empty.text):
                finding = _Finding(test=None, root_mark=session.empty, note="a session of pytest ran no test")
                self._set_family(finding, Family.COLLECTION)
                return finding
        return None

    def _say_end(self) -> str:
        status = self._job.exit_status
        if self._job.cancelled and status is None:
            return "the job was ended from outside"
        if status in _OUTSIDE:
            return f"the job was ended {_OUTSIDE[status]} (exit status {status})"
        return "" if status is None else f"the job ended with exit status {status}"

    # --- writing down

    def _set_family(self, finding: _Finding, family: Family) -> None:
        finding.message = family.value

    def _match(self, mark: Mark) -> Match | None:
        if mark.n not in self._seen:
            self._seen[mark.n] = self._matcher.match_line(mark.text)
        return self._seen[mark.n]

    def _write(self, finding: _Finding, folded: Iterable[_Finding]) -> Failure:
        rule = finding.root.match.rule if finding.root else None
        mark = finding.root_mark or (finding.root.mark if finding.root else finding.lines[0])
        family = rule.family if rule else Family.UNKNOWN
        infra = rule.infra if rule else False
        if rule is None and finding.test is None and finding.message in set(Family):
            family = Family(finding.message)
            infra = family is Family.AGENT_LOST or (family is Family.TIMEOUT and "made progress" in finding.note)
        elif rule is None and finding.test and _is_collection(finding):
            family = Family.COLLECTION
        others = list(folded)
        followed = [
            c.mark for f in (finding, *others) for c in f.clues if c.match.rule.consequence_of and c.mark != mark
        ]
        text = read_message(mark.text)
        if finding.message and mark.text.startswith(("FAILED", "ERROR")) and mark.text.endswith(finding.message):
            text = finding.message  # of a line of the short summary: the test is not what failed
        masked = text if rule is None and finding.test is None else mask_line(text)
        root = LogLine.make(mark.n, text)
        evidence = {m.n: m for m in (mark, *finding.details, *followed[:3], *finding.lines[:1])}
        if finding.root and finding.root.mark.n != mark.n:
            evidence[finding.root.mark.n] = finding.root.mark
        if finding.test is None and self._job.exit_mark:
            evidence[self._job.exit_mark.n] = self._job.exit_mark
        return Failure(
            test=finding.test,
            job=self._job.name,
            family=family,
            infra=infra,
            root=root,
            signature=make_signature(family.value, rule.id if rule else "", masked),
            masked=masked,
            rule=rule.id if rule else "",
            note=finding.note,
            evidence=tuple(LogLine.make(n, read_message(m.text)) for n, m in sorted(evidence.items())),
            consequences=tuple(LogLine.make(m.n, read_message(m.text)) for m in _unique(followed)[:20]),
            also=tuple(f.test for f in others if f.test),
            captures=self._gather(finding),
            named=list_names(finding.root.match.captures) if finding.root else (),
        )

    def _gather(self, finding: _Finding) -> dict[str, str]:
        captures: dict[str, str] = {}
        for clue in finding.clues:
            if not clue.match.rule.consequence_of:
                captures = dict(clue.match.captures) | captures
        return captures


def _keep_last_test(clues: list[Clue]) -> list[Clue]:
    """The clues of the test that ran last: those before belong to tests that went on, so they were expected."""
    if not clues:
        return clues
    last = clues[-1].mark.running
    return [c for c in clues if c.mark.running == last]


def _is_collection(finding: _Finding) -> bool:
    return bool(finding.test and "::" not in finding.test)


def _as_mark(entry: Summary) -> Mark:
    return Mark(n=entry.n, text=entry.text, shard="", structure=frozenset(), rules=False, running=None)


def _path(test: str | None) -> str:
    return (test or "").partition("::")[0]


def _unique(marks: Iterable[Mark]) -> list[Mark]:
    return list({mark.n: mark for mark in sorted(marks, key=lambda mark: mark.n)}.values())
