"""From a finished run, its exit code and its log, to how it ended and which failures it shows."""

from __future__ import annotations

import os
import re
from pathlib import Path

from triage.hangs import Ending, HangRecord
from triage.logs import Failure, make_signature, mask_line, read_log
from triage.redaction import redact_text
from triage.result import Family
from triage.verify._attempt import End, Seen

_TAIL_BYTES = 1 << 16
_PYTEST_NO_TESTS = 5
CANNOT_TELL = 125  # as for `git bisect run`
# The last line of a pytest session, with or without its frame (-q).
_SUMMARY = re.compile(rb"^=*\s*((?:\d+ \w+, )*\d+ \w+|no tests ran) in [\d.:]+s\b.*$", re.MULTILINE)
_RAN = re.compile(rb"\d+ (?:passed|failed|errors?|xfailed|xpassed|rerun)\b")
_SET = re.compile(r"\{[^{}]{40,}(?:\}|$)")  # Python prints a set of words in another order each time
_EMPTY = re.compile(rb"\bno tests ran\b|\bcollected 0 items\b|\b\d+ deselected\b|\b\d+ skipped\b")


def read_end(record: HangRecord, log: Path) -> tuple[End, tuple[Seen, ...]]:
    """How a watched run ended, and its failures by signature.

    A run in which pytest ran no test (all skipped, none selected) is skipped, and so is one that exits with
    `CANNOT_TELL`. One that ended with an error which no rule knows is told by its exit code and the last line of its
    log.
    """
    if record.ending in {Ending.STALLED, Ending.TIME_LIMIT}:
        kind = record.diagnosis.hang_class.value if record.hung else "time_limit"
        return End.TIMED_OUT, (Seen(signature=f"hang:{kind}", family=Family.TIMEOUT, infra=False, line=kind),)
    if record.returncode is None:
        return End.LOST, ()
    if record.returncode == CANNOT_TELL:
        return End.SKIPPED, ()
    if record.returncode in {0, _PYTEST_NO_TESTS}:
        tail = _read_tail(log)
        if is_skipped(tail, record.returncode):
            return End.SKIPPED, ()
        if record.returncode == 0:
            return End.PASSED, ()
    return End.FAILED, read_failures(log, record.returncode)


def is_skipped(tail: bytes, returncode: int) -> bool:
    """Whether the end of a log says that pytest ran no test.

    >>> is_skipped(b"===== 3 skipped in 0.01s =====", 0), is_skipped(b"1 passed, 1 skipped in 0.02s", 0)
    (True, False)
    >>> is_skipped(b"no tests ran in 0.00s", 5), is_skipped(b"sys.exit(5)", 5), is_skipped(b"done", 0)
    (True, False, False)
    """
    summaries = [found.group(0) for found in _SUMMARY.finditer(tail)]
    if any(_RAN.search(line) for line in summaries):
        return False
    return bool(summaries) if returncode == 0 else bool(_EMPTY.search(tail))


def read_failures(log: Path, returncode: int) -> tuple[Seen, ...]:
    """The failures of a failed run, each signature once."""
    found = [_make_seen(failure) for failure in read_log(str(log)).failures]
    if not found:
        lines = [line for line in _read_tail(log).decode(errors="replace").splitlines() if line.strip()]
        masked = mask_line(_SET.sub("{…}", redact_text(lines[-1]))) if lines else f"exit {returncode}"
        signature = make_signature(Family.UNKNOWN.value, f"exit {returncode}", masked)
        found = [Seen(signature=signature, family=Family.UNKNOWN, infra=False, line=masked)]
    return tuple({one.signature: one for one in found}.values())


def _make_seen(failure: Failure) -> Seen:
    """The failure, with a signature that the order of a printed set has no part in."""
    masked = _SET.sub("{…}", failure.masked)
    signature = failure.signature
    if masked != failure.masked:
        signature = make_signature(failure.family.value, failure.rule, masked)
    return Seen(signature=signature, family=failure.family, infra=failure.infra, line=redact_text(masked))


def _read_tail(log: Path) -> bytes:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read()
