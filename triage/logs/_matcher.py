"""Finds the few lines of a log that say something, at the speed of memory, and reads what they say.

Hyperscan looks for all patterns at once in raw bytes: it cannot backtrack, and needs half a second for a gigabyte.
RE2, which cannot backtrack either, then decides on the few lines that it found, without their colours and time stamps,
and captures. Measured on two cores: benchmarks/log_speed.py.
"""

from __future__ import annotations

import re as regex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from triage.errors import MissingDependencyError, RuleError
from triage.logs._rules import Rule, Rules, read_rules

_HINT = "Rules may use what RE2 knows: no look-around, no back-reference, no repetition beyond 1000."
# Between the name of an exception and its message; newer Pythons colour the two apart.
_COLON = regex.compile(r"(?<!\\)(?<!\?): ")
_PAINTED_COLON = r"[\x1b\[0-9;m]*:[\x1b\[0-9;m]* [\x1b\[0-9;m]*"
_BOUNDED_GAP = regex.compile(r"\.\{0,\d+\}")
# What stands at an end of a cleaned line, or at a word's, does not in the raw one: a colour ends in a letter.
_ANCHOR = regex.compile(r"(?<![\\\[])[\^$]|(?<!\\)\\b")


@dataclass(frozen=True, kw_only=True)
class Match:
    """A rule that a line matches, and what it captured."""

    rule: Rule
    captures: Mapping[str, str]


class Matcher:
    """Compiled rules, and patterns of the caller's own that say how the log is built.

    Raises `RuleError` for a pattern that does not compile, `MissingDependencyError` without the two engines.
    """

    def __init__(self, rules: Rules, structure: Sequence[str] = ()) -> None:
        hyperscan, re2 = _import_engines()
        self.rules = rules.rules
        self._captures = [_compile_line(re2, rule) for rule in rules.rules]
        self._ignored = re2.compile("|".join(f"(?:{p})" for p in rules.ignored) or r"\z.")
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        expressions = [*structure, *(_loosen(rule.pattern) for rule in rules.rules)]
        try:
            self._compile(hyperscan, self._database, expressions)
        except hyperscan.error:
            for rule in rules.rules:
                try:
                    self._compile(hyperscan, hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK), [rule.pattern])
                except hyperscan.error as error:
                    raise RuleError(
                        f"The pattern of the rule {rule.id} cannot be scanned for: {error}.", hint=_HINT
                    ) from error
            raise
        self._scratch = hyperscan.Scratch(self._database)
        self._database.scratch = self._scratch

    @staticmethod
    def _compile(hyperscan: Any, database: Any, expressions: Sequence[str]) -> None:
        flags = [hyperscan.HS_FLAG_MULTILINE | hyperscan.HS_FLAG_ALLOWEMPTY] * len(expressions)
        # RE2 writes a named group with a P, Hyperscan knows it without; it captures nothing.
        plain = [expression.replace("(?P<", "(?<").encode() for expression in expressions]
        database.compile(expressions=plain, ids=list(range(len(plain))), elements=len(plain), flags=flags)

    def scan(self, block: bytes | memoryview, on_match: Callable[[int, int], None]) -> None:
        """Calls with (pattern, offset of its end) for every match in raw bytes; structure first, then the rules."""
        self._database.scan(block, match_event_handler=lambda i, _start, end, _flags, _context: on_match(i, end))

    def match_line(self, line: str) -> Match | None:
        """The first rule that a cleaned line matches, with its captures.

        >>> make_matcher().match_line("RuntimeError: HIP error: invalid argument").rule.family.value
        'gpu_fault'
        """
        for rule, pattern in zip(self.rules, self._captures, strict=True):
            found = pattern.search(line)
            if found:
                if self._ignored.search(line):
                    return None
                return Match(rule=rule, captures={k: v for k, v in found.groupdict().items() if v is not None})
        return None


def _loosen(pattern: str) -> str:
    """The pattern as it is scanned for: finds at least the lines that RE2 will confirm, and compiles faster."""
    return _ANCHOR.sub("", _BOUNDED_GAP.sub(".*", _COLON.sub(lambda _: _PAINTED_COLON, pattern)))


@cache
def make_matcher(structure: tuple[str, ...] = (), rules: Rules | None = None) -> Matcher:
    """The matcher for some rules, triage's own without any; compiled once."""
    return Matcher(rules or read_rules(), structure)


def _compile_line(re2: Any, rule: Rule) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(rule.pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise RuleError(f"The pattern of the rule {rule.id} does not compile: {reason}.", hint=_HINT) from error


def _import_engines() -> tuple[Any, Any]:
    try:
        import hyperscan
        import re2
    except ImportError as error:
        raise MissingDependencyError(
            f"Reading logs needs {error.name}.", hint="Install it: pip install hyperscan google-re2"
        ) from error
    return hyperscan, re2
