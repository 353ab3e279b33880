"""What pytest printed of one failed test: which of its lines say something, and which test they are of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from triage.logs._clues import ERROR_LINE
from triage.logs._scan import Mark
from triage.logs._structure import Build, Section, Session, Summary

_DETAIL = re.compile(
    r"^(?:\+ |- |where |At index |Full diff|Use -v|comparison failed|Obtained:|Expected:|Mismatch|Greatest |Max "
    r"|[\[\]{}(),]*$|.*\d validation errors? for \w+$|[\w.]+(?:Error|Exception):?$|For further information visit)"
)
_ABOUT = re.compile(r"^ERROR (?:at (?:setup|teardown) of |collecting )")
_DETAILS = 4
_MARKED_ASSERT = re.compile(r"> {3,}assert ")
_SHORT_ASSERT = re.compile(r" {4}assert ")


def take_section(sections: list[Section], test: str) -> Section | None:
    """The section of a test; of two with one name, the first that is left."""
    path, _, name = test.partition("::")
    wanted = {name.replace("::", "."), name.rpartition("::")[2]} if name else {path}
    for section in sections:
        if _ABOUT.sub("", section.title) in wanted or (name and section.title.endswith(f".{name}")):
            sections.remove(section)
            return section
    return None


def find_loose(session: Session, test: str) -> list[Mark]:
    """Lines of a traceback style without titles (``--tb=line``) that name the test's file."""
    path = test.partition("::")[0].rpartition("/")[2]
    return [mark for mark in session.loose if path and path in mark.text.split(":")[0]]


def list_said(marks: Sequence[Mark]) -> list[Mark]:
    """The lines of a section that say something. pytest shows source as well, in which an error is only written down;
    of that the assertion counts, which names what was compared.
    """
    captured = next((n for n, mark in enumerate(marks) if Build.CAPTURED in mark.structure), len(marks))
    traceback = marks[:captured]
    if any(ERROR_LINE.match(mark.text) for mark in traceback):  # a native traceback has no such line
        marked = any(m.text.startswith(">") for m in traceback)  # the short style marks nothing
        source = _MARKED_ASSERT if marked else _SHORT_ASSERT
        traceback = [m for m in traceback if ERROR_LINE.match(m.text) or source.match(m.text)]
    return [*traceback, *marks[captured:]]


def list_details(marks: Iterable[Mark]) -> list[Mark]:
    """The first lines of pytest's own error."""
    return [mark for mark in marks if ERROR_LINE.match(mark.text)][:_DETAILS]


def find_error(marks: Iterable[Mark]) -> Mark | None:
    """The first line of pytest's own error that is no detail of another."""
    errors = []
    for mark in marks:
        found = ERROR_LINE.match(mark.text)
        if found and Build.ERROR_LINE in mark.structure:
            errors.append((mark, found.group(1)))
    named = [m for m, text in errors if not _DETAIL.match(text)]
    return next(iter(named or [m for m, _ in errors]), None)


def summarise_section(section: Section) -> Summary:
    """A section without a short summary: the file is in the line that says where it failed."""
    name = _ABOUT.sub("", section.title)
    places = [m.text.split(":")[0] for m in section.marks if Build.LOCATION in m.structure]
    known = name.endswith(".py") or not places
    test = name if known else f"{places[0]}::{name.replace('.', '::', 1) if '[' not in name.split('.')[0] else name}"
    return Summary(word="FAILED", test=test, message="", n=section.n, text=section.title, marks=[])
