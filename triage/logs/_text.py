"""A line as a reader sees it: without colours, time stamps, shard names and control characters."""

from __future__ import annotations

import re
from datetime import datetime

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|[()][0-9A-B]"
    r"|_[^\x07\x1b]{0,200}(?:\x07|\x1b\\)|\][^\x07\x1b]{0,1000}(?:\x07|\x1b\\))"
)
_STAMP = re.compile(
    r"^(?:\[?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]? ?"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC(?: \| ?| ?$))"  # as Buildkite's page copies it
)
_TIME = re.compile(rb"^\W{0,4}(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)?(?:Z| UTC)")
_TIME_INLINE = re.compile(rb"\x1b_bk;t=(\d{10,14})\x07")
_SHARD = re.compile(r"^>>Shard (\d+): ?")
_PIPE = re.compile(r"^ {1,3}\| ")  # as Buildkite's page copies its lines
_PROCESS = re.compile(
    r"^(?:\((?:[\w.:-]+ )?(?:[\w.:=-]+ )*pid=\d+(?:, ip=[\d.]+)?\) ?|\[rank\d+\]: ?)?"
    r"(?:(?:ERROR|CRITICAL|INFO|WARNING|DEBUG) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]{1,80}\] ?)?"
)
_QUIET = re.compile(r"^(?:\([^)]{1,60}pid=\d+\) ?)?(?:INFO|WARNING|DEBUG)\b|Warning: ")
_UNSEEN = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
_UNSEEN |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0xFEFF)}


def clean_line(raw: bytes) -> tuple[str, str]:
    """The line without what the terminal, the agent and the runner put around it, and the shard that wrote it.

    Broken UTF-8 becomes U+FFFD, other control characters are spelt out: nothing in it can move a cursor.

    >>> clean_line(b"[2026-04-15T18:44:57Z] >>Shard 3: \\x1b[31mFAILED\\x1b[0m a.py::b\\r")
    ('FAILED a.py::b', '3')
    """
    text = raw.rstrip(b"\r\n").decode("utf-8", "replace")
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if "\r" in text:  # a progress bar: the last state is what stays on the screen
        text = text.rpartition("\r")[2]
    text = _PIPE.sub("", _STAMP.sub("", text))
    shard = _SHARD.match(text)
    if shard:
        text = text[shard.end() :]
    return text.translate(_UNSEEN).rstrip(), shard.group(1) if shard else ""


def read_time(raw: bytes) -> float | None:
    """When the agent saw a line, in seconds since 1970; None where its beginning does not say so.

    >>> read_time(b"[1970-01-01T00:01:00Z] collected 3 items"), read_time(b"\x1b_bk;t=60500\x07fine")
    (60.0, None)
    >>> read_time(b"\x1b_bk;t=1776278696485\x07fine")
    1776278696.485
    """
    if inline := _TIME_INLINE.search(raw[:32]):
        return int(inline.group(1)) / 1000
    found = _TIME.match(raw)
    if not found:
        return None
    day, clock, fraction = (group.decode() if group else "0" for group in found.groups())
    try:
        return datetime.fromisoformat(f"{day}T{clock}+00:00").timestamp() + float(f"0.{fraction}")
    except ValueError:
        return None


def strip_process(text: str) -> str:
    """The message of a line that a process of the engine logged.

    >>> strip_process("(EngineCore pid=7) ERROR 11-20 10:00:00 [core.py:708] ValueError: x")
    'ValueError: x'
    """
    return _PROCESS.sub("", text, count=1)


def is_quiet(text: str) -> bool:
    """Whether a line says of itself that it is no error.

    >>> is_quiet("WARNING 11-20 10:00:01 [rocm.py:29] Failed to import"), is_quiet("ValueError: x")
    (True, False)
    """
    return bool(_QUIET.search(text))
