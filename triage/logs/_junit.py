"""JUnit XML: the failed tests of a report, each read with the rules for logs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.parsers import expat

from triage.errors import LogError
from triage.logs._clues import Clue, choose_root, read_message
from triage.logs._failure import Failure, LogLine
from triage.logs._matcher import Matcher
from triage.logs._scan import Mark
from triage.logs._signature import list_names, make_signature, mask_line
from triage.logs._text import clean_line
from triage.result import Family

_JUNIT = re.compile(
    rb"^\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*(?:<!DOCTYPE[^>]*>?\s*)?<(?:testsuites?|!DOCTYPE)\b", re.DOTALL
)
_TEXT_CHARS = 4 << 20  # of one failed test; what is longer is cut
_ELEMENTS = {"failure", "error"}


def is_junit(head: bytes) -> bool:
    """Whether a log begins as a JUnit report does.

    >>> is_junit(b'<?xml version="1.0"?><testsuites>'), is_junit(b"<script>")
    (True, False)
    """
    return bool(_JUNIT.match(head[:4096].removeprefix(b"\xef\xbb\xbf")))


@dataclass(frozen=True)
class Suites:
    """What a report holds: the failures of each suite that ran a test, under its name, and what was read.

    ``hosts`` and ``times_s`` say of a suite where it ran and when it began, in seconds since 1970, where it says so.
    """

    failures: Mapping[str, Sequence[Failure]]
    hosts: Mapping[str, str]
    times_s: Mapping[str, float]
    bytes: int
    lines: int


def read_junit(blocks: Iterable[bytes], matcher: Matcher, *, name: str) -> Suites:
    """The failures of a report, suite by suite.

    No entity is ever expanded, nothing outside is fetched. Raises `LogError` for entities and for broken XML.
    """
    reader = _Reader(matcher, name)
    size = 0
    try:
        for block in blocks:
            size += len(block)
            reader.parser.Parse(block, False)
        reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise LogError(
            f"{name} is no whole JUnit report: line {error.lineno}, {expat.ErrorString(error.code)}.",
            hint="Give the log of the job instead.",
        ) from error
    return Suites(
        failures=reader.failures,
        hosts=reader.hosts,
        times_s=reader.times_s,
        bytes=size,
        lines=reader.parser.CurrentLineNumber,
    )


class _Reader:
    def __init__(self, matcher: Matcher, name: str) -> None:
        self._matcher, self._name = matcher, name
        self.failures: dict[str, list[Failure]] = {}
        self.hosts: dict[str, str] = {}
        self.times_s: dict[str, float] = {}
        self._suite: str | None = None
        self._test: str | None = None
        self._kind = ""
        self._text: list[str] = []
        self._chars = 0
        self._line = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._add
        self.parser.EntityDeclHandler = self._refuse

    def _refuse(self, entity: str, *_: Any) -> None:
        raise LogError(
            f"{self._name} declares the entity {entity!r}; a JUnit report has none.", hint="Give the log instead."
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "testsuite":
            self._suite = attributes.get("name") or None
            self._read_place(attributes)
        elif name == "testcase":
            self._test = _name_test(attributes)
            self.failures.setdefault(self._suite or "", [])
        elif name in _ELEMENTS and self._test is not None:
            self._kind, self._text, self._chars = name, [], 0
            self._line = self.parser.CurrentLineNumber
            self._add(f"{attributes.get('message', '')}\n")

    def _read_place(self, attributes: dict[str, str]) -> None:
        if attributes.get("hostname"):
            self.hosts[self._suite or ""] = attributes["hostname"]
        with suppress(ValueError):
            began = datetime.fromisoformat(attributes.get("timestamp", ""))
            if began.tzinfo:  # an older pytest writes the machine's own time, and not which that is
                self.times_s[self._suite or ""] = began.timestamp()

    def _add(self, text: str) -> None:
        if self._kind and self._chars < _TEXT_CHARS:
            self._text.append(text)
            self._chars += len(text)

    def _end(self, name: str) -> None:
        if name in _ELEMENTS and self._kind and self._test is not None:
            self.failures[self._suite or ""].append(self._read("".join(self._text)))
            self._kind = ""
        elif name == "testcase":
            self._test = None

    def _read(self, text: str) -> Failure:
        # The message is an attribute, so the first line of the text is the line of the element too.
        message, _, body = text.partition("\n")
        lines = [(self._line, message), *((self._line + i, line) for i, line in enumerate(body.split("\n")))]
        clues = []
        for n, raw in lines:
            cleaned = clean_line(raw.encode("utf-8", "replace"))[0]
            match = self._matcher.match_line(cleaned) if cleaned else None
            if match:
                mark = Mark(n=n, text=cleaned, shard="", structure=frozenset(), rules=True, running=None)
                clues.append(Clue(mark=mark, match=match, own=True))
        root = choose_root(clues, self._matcher)
        rule = root.match.rule if root else None
        said = clean_line(message.encode("utf-8", "replace"))[0] or next(
            (raw.strip() for _, raw in lines if raw.strip()), ""
        )
        weak = root is None or root.match.rule.weak
        line = LogLine.make(self._line, said) if weak else LogLine.make(root.mark.n, read_message(root.mark.text))  # type: ignore[union-attr]
        family = rule.family if rule else Family.UNKNOWN
        masked = mask_line(line.text)
        followed = [c.mark for c in clues if c.match.rule.consequence_of and c is not root]
        return Failure(
            test=self._test,
            job=self._suite,
            family=family,
            infra=bool(rule and rule.infra),
            root=line,
            signature=make_signature(family.value, rule.id if rule else "", masked),
            masked=masked,
            rule=rule.id if rule else "",
            evidence=tuple({m.n: LogLine.make(m.n, m.text) for m in ([root.mark] if root else [])}.values()) or (line,),
            consequences=tuple(LogLine.make(m.n, m.text) for m in followed[:20]),
            captures=dict(root.match.captures) if root else {},
            named=list_names(root.match.captures) if root else (),
        )


def _name_test(attributes: dict[str, str]) -> str:
    """The node id: pytest writes the file as a dotted class name, and the file itself where it is asked to."""
    name, where = attributes.get("name", ""), attributes.get("classname", "")
    if attributes.get("file"):
        return f"{attributes['file']}::{name}"
    module, _, inner = re.sub(r"\.(?=[A-Z])", "\0", where, count=1).partition("\0")
    path = f"{module.replace('.', '/')}.py" if module else ""
    return "::".join(part for part in (path, inner.replace(".", "::"), name) if part)
