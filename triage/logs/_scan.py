"""One pass over a log: keeps the few lines that say something, with their numbers, and counts the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from triage.logs._matcher import Matcher
from triage.logs._text import clean_line, read_time

_LINE_BYTES = 8192  # of a line, around what was found; the rest of a long one is not kept
_OVERLAP_BYTES = 4096  # of a line longer than a block, looked at twice
_MARKS = 50_000  # lines kept of one log: a hostile log may match on every line
_FOUND = 200_000  # matches looked at in one block
_TAIL_BYTES = 16_384
_STAMP_BYTES = 64
_TEST_ID = re.compile(rb"(?:^|[\s\]m\x07])([\w./-]+\.py::[^\s\x1b]+(?: [^\s\x1b]*\])?)")
_DONE = re.compile(rb"\b(?:PASSED|SKIPPED|XFAIL|XPASS)\b")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A line that says something.

    ``n`` counts from 1 in the unpacked log, ``text`` is cleaned, ``shard`` the runner's number or "". ``structure`` are
    the patterns of the log's build that matched; ``rules`` says whether a rule may match. ``running`` is the test that
    was named last before the line, if any. ``time_s`` is when the agent saw it, in seconds since 1970, if it says so.
    """

    n: int
    text: str
    shard: str
    structure: frozenset[int]
    rules: bool
    running: str | None
    time_s: float | None = None


@dataclass(kw_only=True)
class Scan:
    """What one pass found: marks in order, totals, the cleaned last lines with their numbers, first and last time."""

    marks: list[Mark] = field(default_factory=list)
    bytes: int = 0
    lines: int = 0
    dropped: int = 0
    tail: Sequence[tuple[int, str]] = ()
    stamped: bool = False
    began_s: float | None = None
    ended_s: float | None = None


class Scanner:
    """Feeds blocks to a matcher; lines may cross blocks, and one line may be longer than any block."""

    def __init__(self, matcher: Matcher, structure: int) -> None:
        self._matcher = matcher
        self._structure = structure
        self._scan = Scan()
        self._running: str | None = None
        self._followed = 0
        self._last_line = 0

    def run(self, blocks: Iterable[bytes]) -> Scan:
        """The whole log."""
        rest = b""
        tail = b""
        overlap = 0
        for block in blocks:
            if not self._scan.bytes:
                self._scan.began_s = _find_time(block[:_TAIL_BYTES].split(b"\n"))
            self._scan.bytes += len(block)
            data = rest + block if rest else block
            cut = data.rfind(b"\n") + 1
            if cut:
                self._scan_lines(data[:cut] if cut < len(data) else data)
                rest, overlap = data[cut:], 0
            elif len(data) > len(block):
                # A line without end: looked at piece by piece, each a little into the one before.
                self._scan_lines(data)
                rest = data[-_OVERLAP_BYTES:]
                overlap = len(rest)
            else:
                rest = data
            tail = data[-_TAIL_BYTES:]
        if rest and len(rest) > overlap:
            self._scan_lines(rest)
        if tail and not tail.endswith(b"\n"):
            self._scan.lines += 1
        self._scan.tail = self._clean_tail(tail)
        self._scan.ended_s = _find_time(reversed(tail.split(b"\n")))
        return self._scan

    def _scan_lines(self, data: bytes) -> None:
        found: list[tuple[int, int]] = []
        self._matcher.scan(data, lambda pattern, end: found.append((end, pattern)) if len(found) < _FOUND else None)
        if found:
            self._keep(data, sorted(set(found)))
        self._scan.lines += count_newlines(data)
        self._follow_tests(data, len(data))
        self._followed = 0

    def _keep(self, data: bytes, found: Sequence[tuple[int, int]]) -> None:
        before, line = 0, self._scan.lines
        index = 0
        while index < len(found):
            end, _ = found[index]
            at = max(end - 1, 0)
            start = data.rfind(b"\n", 0, at) + 1
            stop = data.find(b"\n", at)
            stop = len(data) if stop < 0 else stop
            line += count_newlines(memoryview(data)[before:start])
            before = start
            patterns = set()
            while index < len(found) and found[index][0] <= max(stop, end):
                patterns.add(found[index][1])
                index += 1
            self._add(data, line + 1, (start, stop, at), patterns)

    def _add(self, data: bytes, n: int, place: tuple[int, int, int], patterns: set[int]) -> None:
        start, stop, at = place
        if n == self._last_line:
            return  # the overlap of a long line
        if len(self._scan.marks) >= _MARKS:
            self._scan.dropped += 1
            return
        self._last_line = n
        if stop - start > _LINE_BYTES:
            start = max(start, at - _LINE_BYTES // 2)
            stop = min(stop, start + _LINE_BYTES)
        time_s = read_time(data[place[0] : place[0] + _STAMP_BYTES])
        text, shard = clean_line(data[start:stop])
        rules = any(pattern >= self._structure for pattern in patterns)
        structure = frozenset(pattern for pattern in patterns if pattern < self._structure)
        self._follow_tests(data, place[1])
        mark = Mark(n=n, text=text, shard=shard, structure=structure, rules=rules, running=self._running, time_s=time_s)
        self._scan.marks.append(mark)

    def _follow_tests(self, data: bytes, stop: int) -> None:
        """Remembers the last test that is named before ``stop``; every byte is looked at once."""
        at = data.rfind(b".py::", self._followed, stop)
        if at >= 0:
            self._running = _read_test(data, at)
        self._followed = stop

    def _clean_tail(self, tail: bytes) -> list[tuple[int, str]]:
        raw = tail.split(b"\n")
        if raw and not raw[-1]:
            raw.pop()
        if len(raw) > 1 and len(tail) == _TAIL_BYTES:
            raw = raw[1:]
        first = self._scan.lines - len(raw) + 1
        self._scan.stamped = any(b"_bk;t=" in line or (line[:1] == b"[" and line[20:23] == b"Z] ") for line in raw)
        self._scan.stamped |= any(line[:1] == b"[" and b"Z] " in line[:40] for line in raw)
        return [(first + i, clean_line(line[-_LINE_BYTES:])[0]) for i, line in enumerate(raw)]


def count_newlines(data: bytes | memoryview) -> int:
    """How many newlines there are; in pieces that stay in the cache, four times as fast as ``bytes.count``.

    >>> count_newlines(b"a\\nb\\n\\n")
    3
    """
    if len(data) < 4096:
        return bytes(data).count(b"\n")
    import numpy as np

    array = np.frombuffer(data, dtype=np.uint8)
    piece = 1 << 18
    return sum(int(np.count_nonzero(array[i : i + piece] == 10)) for i in range(0, len(array), piece))


def _read_test(data: bytes, at: int) -> str | None:
    """The test that the line at this place names; None if the line says that it is done."""
    start = data.rfind(b"\n", 0, at) + 1
    stop = data.find(b"\n", at)
    line = data[max(start, at - 400) : min(len(data) if stop < 0 else stop, at + 2000)]
    tests = _TEST_ID.findall(line)
    return tests[-1].decode("utf-8", "replace") if tests and not _DONE.search(line) else None


def _find_time(lines: Iterable[bytes]) -> float | None:
    """The first time that one of these lines bears."""
    return next((time for line in lines if (time := read_time(line[:_STAMP_BYTES])) is not None), None)
