"""How a CI log is built: groups of the agent, shards of the runner, sessions, sections and summaries of pytest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from triage.logs._runs import FACT_PATTERN, read_facts
from triage.logs._scan import Mark

_P = r"(?:\x1b\[[0-9;]*m)*"


class Build(IntEnum):
    """The patterns of the log's build, in the order of `STRUCTURE`."""

    GROUP = 0
    SECTION = 1
    TITLE = 2
    SUMMARY = 3
    INLINE = 4
    ERROR_LINE = 5
    EXIT = 6
    COLLECTED = 7
    COMMAND = 8
    LOCATION = 9
    LAUNCH = 10
    FACT = 11
    CAPTURED = 12
    RAISED = 13


# Scanned for in raw bytes; what they find is looked at again below, without colours and time stamps.
STRUCTURE = (
    r"(?:---|\+\+\+|~~~) [^ \-+~\n]",
    r"={3} [^\n]+ ={3}",
    r"_ [A-Za-z][^\n]* _",
    rf"(?:FAILED|ERROR){_P} +{_P}(?:\[[\d.]+s\] )?[^\s:]+\.py",
    rf"FAILED|RERUN|ERROR{_P} *{_P}(?:\[ *\d+%\]{_P})? *\r?$|ERROR{_P} +[^\s:]+\.py::",
    r"E {3,}\S",
    r"[Ee]xited with status -?\d|interrupted by a signal|[Cc]ancellation signal|processes failed with -?\d"
    r"|exit (?:code|status):? -?\d",
    r"collected \d+ item|workers \[\d+ item|Running \d+ items? in this shard",
    r"cd /vllm-workspace[^\n]*&& |VLLM_TEST_GROUP_NAME=",
    r"\.py:\d+: \w*(?:Error|Exception|assert|Failed|Timeout)",
    r"Launching RemoteOpenAIServer with:|non-default args:",
    FACT_PATTERN,
    r"- Captured (?:std|log)",
    r"(?:^|\] |\) |m)(?:\w+\.)*[A-Z]\w*(?:Error|Exception): ",
)

_GROUP = re.compile(r"^(?:---|\+\+\+|~~~) (.+)$")
_JOB = re.compile(r"^(?:AMD: .+ \((?:mi|gfx|MI)\w+\)|(?:mi|gfx)\w+_\d+: .+|:amd: ?\(.+\) .+|:amd: .+|AMD: .+)$")
_SECTION = re.compile(r"^=+ (.+?) =+$")
_COUNTS = re.compile(
    r"\b\d+ (?:passed|failed|errors?|skipped|xfailed|xpassed|deselected|warnings?|rerun)\b.* in [\d.:]+"
    r"|^no tests (?:ran|collected)"
)
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|rerun)")
_TITLE = re.compile(r"^_+ (.+?) _+$")
_SUMMARY = re.compile(  # the parameters of a test may hold anything, a dash between spaces as well
    r"^(FAILED|ERROR) (?:\[[\d.]+s\] )?([^\s:]+\.py(?:::[^\[\s]*(?:\[.*?\](?= - |$))?)?)(?: - (.*))?$"
)
_INLINE = re.compile(
    r"^(?:(?:\[gw\d+\] )?(?:\[ *\d+%\] )?(FAILED|ERROR|RERUN)(?: (\S+::.+))?"
    r"|(?:.*?(\S+\.py::.+?) )?.*?(FAILED|ERROR|RERUN)(?: +\[ *\d+%\])?)$"
)
_EXIT = re.compile(
    r"[Ee]xited with status (-?\d+)|processes failed with (-?\d+)"
    r"|^(?:\W*(?i:error|process|job|step|script|command|container|docker)\b.{0,40})?[Ee]xit (?:code|status):? (-?\d+)"
)
_AGENT = re.compile(
    r"^(?:\W*Error: )?(?:The command e|[Ee])xited with status |Process completed with exit code|processes failed"
)
_CANCELLED = re.compile(r"^\W*[Rr]eceived cancellation signal|[Tt]he command was interrupted by a signal")
_COLLECTED = re.compile(
    r"^(?:collecting \.\.\. )?collected (\d+) items?(.*)$"
    r"|^\d+ workers \[(\d+) items?\]|^Running (\d+) items? in this shard"
)
_GROUP_NAME = re.compile(r"VLLM_TEST_GROUP_NAME=([\w.()-]+)")
_COMMAND = re.compile(r"((?:export \S+(?: &&|;) )*cd /vllm-workspace\S* && .*)$")


@dataclass(kw_only=True)
class Section:
    """What pytest printed of one failed test."""

    title: str
    n: int
    marks: list[Mark] = field(default_factory=list)


@dataclass(kw_only=True)
class Summary:
    """One line of the short test summary: ``word`` is FAILED or ERROR, ``test`` a node id."""

    word: str
    test: str
    message: str
    n: int
    text: str
    marks: list[Mark] = field(default_factory=list)


@dataclass(kw_only=True)
class Session:
    """One run of pytest by one shard."""

    n: int
    live: list[Mark] = field(default_factory=list)
    inline: list[tuple[str, str | None, Mark]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    loose: list[Mark] = field(default_factory=list)
    summary: list[Summary] = field(default_factory=list)
    counts: dict[str, int] | None = None
    end: Mark | None = None
    selected: int | None = None
    empty: Mark | None = None
    after: list[Mark] = field(default_factory=list)
    area: str = "live"

    @property
    def failed(self) -> bool:
        """Whether pytest said that something failed."""
        counts = self.counts or {}
        return bool(self.summary or self.sections or counts.get("failed") or counts.get("error"))


@dataclass(kw_only=True)
class Job:
    """One job of the log: its name, the command that reproduces it, its sessions, its end, where and when it ran."""

    name: str | None = None
    n: int = 1
    command: str = ""
    sessions: list[Session] = field(default_factory=list)
    outside: list[Mark] = field(default_factory=list)
    exit_status: int | None = None
    exit_mark: Mark | None = None
    cancelled: Mark | None = None
    launches: list[Mark] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    times_s: list[float] = field(default_factory=list)


def split_jobs(marks: Iterable[Mark]) -> list[Job]:
    """The jobs of a log in order. A log without a job's heading is one job without a name."""
    builder = _Builder()
    for mark in marks:
        builder.add(mark)
    return builder.jobs


class _Builder:
    def __init__(self) -> None:
        self.jobs = [Job()]
        self._open: dict[str, Session] = {}
        self._readers: tuple[tuple[Build, Callable[[Mark], bool]], ...] = (
            (Build.GROUP, self._read_group),
            (Build.SECTION, self._read_section),
            (Build.TITLE, self._read_title),
            (Build.SUMMARY, self._read_summary),
            (Build.INLINE, self._read_inline),
            (Build.EXIT, self._read_exit),
            (Build.COLLECTED, self._read_collected),
            (Build.COMMAND, self._read_command),
            (Build.LAUNCH, self._read_launch),
            (Build.FACT, self._read_fact),
        )

    @property
    def _job(self) -> Job:
        return self.jobs[-1]

    def add(self, mark: Mark) -> None:
        self._place_mark(mark)
        if mark.time_s is not None:
            self._job.times_s = [*self._job.times_s[:1], mark.time_s]

    def _place_mark(self, mark: Mark) -> None:
        for build, read in self._readers:
            if build in mark.structure and read(mark):
                return
        session = self._open.get(mark.shard)
        if session is None:
            self._job.outside.append(mark)
        else:
            _place(session, mark)

    def _read_group(self, mark: Mark) -> bool:
        found = _GROUP.match(mark.text)
        if not found:
            return False
        name = found.group(1).strip()
        if _JOB.match(name):
            if self._job.sessions or self._job.name or self._job.outside or self._job.exit_mark:
                self.jobs.append(Job(n=mark.n, facts=dict(self._job.facts)))  # of one agent
            self._job.name = name
            self._open.clear()
        elif name.startswith("Running ") and self._open:
            return False
        return True

    def _read_section(self, mark: Mark) -> bool:
        found = _SECTION.match(mark.text)
        if not found:
            return False
        title = found.group(1)
        session = self._open.get(mark.shard)
        if title == "test session starts":
            session = Session(n=mark.n)
            self._job.sessions.append(session)
            self._open[mark.shard] = session
        elif title in {"FAILURES", "ERRORS"}:
            self._ensure(mark).area = "sections"
        elif title == "short test summary info":
            self._ensure(mark).area = "summary"
        elif _COUNTS.search(title):
            session = self._ensure(mark)
            session.counts = {name.rstrip("s"): int(n) for n, name in _COUNT.findall(title)}
            session.area, session.end = "after", mark
        elif session and title.split(" ")[0] in {"warnings", "PASSES", "XFAILURES", "XPASSES", "slowest", "rerun"}:
            session.area = "ignored"
        else:
            return False
        return True

    def _ensure(self, mark: Mark) -> Session:
        if mark.shard not in self._open or self._open[mark.shard].end:
            session = Session(n=mark.n)
            if mark.shard not in self._open:  # an excerpt: what stands before belongs to the session
                session.live = [m for m in self._job.outside if m.shard == mark.shard]
                self._job.outside = [m for m in self._job.outside if m.shard != mark.shard]
            self._open[mark.shard] = session
            self._job.sessions.append(session)
        return self._open[mark.shard]

    def _read_title(self, mark: Mark) -> bool:
        session, found = self._open.get(mark.shard), _TITLE.match(mark.text)
        if not session or session.area != "sections" or not found:
            return False
        session.sections.append(Section(title=found.group(1), n=mark.n))
        return True

    def _read_summary(self, mark: Mark) -> bool:
        session, found = self._open.get(mark.shard), _SUMMARY.match(mark.text)
        if not found:
            return False
        if not session or session.area != "summary":
            # An excerpt without its heading, as it is pasted into an issue; xdist writes the same words while it runs.
            if session and not (found.group(3) and session.area == "after"):
                return False
            session = self._ensure(mark)
            session.area = "summary"
        word, test, message = found.group(1), found.group(2), found.group(3) or ""
        session.summary.append(Summary(word=word, test=test, message=message, n=mark.n, text=mark.text, marks=[mark]))
        return True

    def _read_inline(self, mark: Mark) -> bool:
        session, found = self._open.get(mark.shard), _INLINE.match(mark.text)
        if not session or session.area != "live" or not found:
            return False
        word = found.group(1) or found.group(4)
        test = found.group(2) or found.group(3) or mark.running
        session.inline.append((word, test, mark))
        if mark.rules:
            session.live.append(mark)
        return True

    def _read_exit(self, mark: Mark) -> bool:
        """How the job ended, as the agent or the runner says it; a test may print the like of its own processes."""
        job, session = self._job, self._open.get(mark.shard)
        testing = session is not None and session.end is None
        found = _EXIT.search(mark.text)
        if found and (_AGENT.search(mark.text) or not testing):
            status = int(next(group for group in found.groups() if group is not None))
            if job.exit_status in {None, 0} or _AGENT.search(mark.text):
                job.exit_status, job.exit_mark = status, mark
        elif _CANCELLED.search(mark.text) and job.cancelled is None:
            job.cancelled = mark
        else:
            return False
        return not mark.rules

    def _read_collected(self, mark: Mark) -> bool:
        found, session = _COLLECTED.match(mark.text), self._open.get(mark.shard)
        if found and not session and "collected" in mark.text:
            session = self._ensure(mark)
        if not found or not session or session.area != "live":
            return False
        if session.selected is not None and "Running" not in mark.text:
            return False  # a test may run pytest itself
        count = int(found.group(1) or found.group(3) or found.group(4))
        rest = found.group(2) or ""
        selected = re.search(r"(\d+) selected", rest)
        session.selected = int(selected.group(1)) if selected else count
        if not session.selected and "Running" not in mark.text and "skipped" not in rest and "error" not in rest:
            session.empty = mark
        return True

    def _read_command(self, mark: Mark) -> bool:
        job = self._job
        found = _COMMAND.search(mark.text)
        if found and not job.command:
            job.command = found.group(1).strip()
        name = _GROUP_NAME.search(mark.text)
        if name and job.name is None:
            job.name = name.group(1)
        return not mark.rules

    def _read_launch(self, mark: Mark) -> bool:
        self._job.launches.append(mark)
        return not mark.rules

    def _read_fact(self, mark: Mark) -> bool:
        self._job.facts = read_facts(mark.text) | self._job.facts  # what is said first, before a test says the like
        return not mark.rules


def _place(session: Session, mark: Mark) -> None:
    if session.area == "sections":
        (session.sections[-1].marks if session.sections else session.loose).append(mark)
    elif session.area == "summary" and session.summary:
        session.summary[-1].marks.append(mark)
    elif session.area == "after":
        session.after.append(mark)
    elif session.area == "live":
        session.live.append(mark)
