"""A line as a reader sees it: without colours, time stamps, shard names and control characters."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|[()][0-9A-B]"
    r"|_[^\x07\x1b]{0,200}(?:\x07|\x1b\\)|\][^\x07\x1b]{0,1000}(?:\x07|\x1b\\))"
)
_STAMP = re.compile(r"^\[?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]? ?")
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
