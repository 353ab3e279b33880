"""Lines that a rule matches, and which of them is the root."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from triage.logs._matcher import Match, Matcher
from triage.logs._scan import Mark
from triage.logs._text import strip_process
from triage.result import Family

ERROR_LINE = re.compile(r"^E {3,}(.*\S)")


@dataclass(frozen=True, kw_only=True)
class Clue:
    """A line that a rule matches. ``own`` is what pytest reported of the test itself."""

    mark: Mark
    match: Match
    own: bool = False

    @property
    def is_root(self) -> bool:
        """Whether it names a cause wherever it stands."""
        rule = self.match.rule
        return not rule.consequence_of and not rule.weak


def choose_root(clues: Sequence[Clue], matcher: Matcher) -> Clue | None:
    """The root: a hang of the GPU before all else, then the first line that names a cause, then the most telling weak
    one, then what merely followed. None without any clue.
    """
    roots = [c for c in clues if c.is_root]
    hangs = [c for c in roots if c.match.rule.family is Family.GPU_HANG]
    if hangs or roots:
        return min(hangs or roots, key=lambda c: c.mark.n)
    order = {rule.id: index for index, rule in enumerate(matcher.rules)}
    weak = [c for c in clues if c.match.rule.weak and not c.match.rule.consequence_of]
    followed = [c for c in clues if c.match.rule.consequence_of]
    if weak and (not followed or any(c.match.rule.id != "assertion" for c in weak)):
        return min(weak, key=lambda c: order[c.match.rule.id])
    return min(followed, key=lambda c: (c.match.rule.family is Family.UNKNOWN, c.mark.n), default=None)


def read_message(text: str) -> str:
    """What a line says, without pytest's ``E`` and without the process that logged it.

    >>> read_message("E       ValueError: x")
    'ValueError: x'
    """
    found = ERROR_LINE.match(text)
    return (found.group(1) if found else strip_process(text)).strip()
