"""What the kernel said while a command ran: its log, and the dumps that a driver left of a hung device."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

_READ_ALL, _SIZE_BUFFER = 3, 10  # actions of syslog(2)
_LINE = re.compile(r"<\d+>\[\s*(\d+\.\d+)\](?:\[\s*[TC]\d+\])? ?(.*)")
_LINES = 500  # of the first and of the last: a fault begins the story, and may repeat itself for megabytes
_CHUNK = 1 << 20
_DUMP_BYTES = 256 << 20  # of one dump; beyond that it is cut


def _read_log(size: int) -> str:
    """The end of the kernel's log. Raises `PermissionError` where it may not be read, and `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if size == 0:
        size = libc.klogctl(_SIZE_BUFFER, None, 0)
    buffer = ctypes.create_string_buffer(max(1, size))
    length = libc.klogctl(_READ_ALL, buffer, len(buffer))
    if length < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw[:length].decode(errors="backslashreplace")


def read_log_time() -> float | None:
    """The time of the newest line of the kernel's log, in seconds of the kernel's own clock; None where unreadable."""
    try:
        text = _read_log(1 << 14)
    except OSError:
        return None
    times = [float(match[1]) for line in text.splitlines() if (match := _LINE.match(line))]
    return max(times, default=0.0)


def read_kernel_log(since_s: float) -> tuple[str, ...]:
    """The lines after a time of `read_log_time`, at most the first and the last 500. Raises `OSError` if refused."""
    found = []
    for line in _read_log(0).splitlines():
        match = _LINE.match(line)
        if match and float(match[1]) > since_s:
            found.append(f"[{match[1]}] {match[2]}")
    left_out = len(found) - 2 * _LINES
    return tuple(found if left_out <= 0 else [*found[:_LINES], f"({left_out} lines left out)", *found[-_LINES:]])


def list_devcoredumps(root: Path) -> dict[str, Path]:
    """The dumps that are there, by the kernel's number for them: ``devcd1`` and the file of its data."""
    found: dict[str, Path] = {}
    for data in (
        *root.glob("sys/class/drm/card*/device/devcoredump/data"),
        *root.glob("sys/class/devcoredump/devcd*/data"),
    ):
        found.setdefault(os.path.basename(os.path.realpath(data.parent)), data)
    return found


def copy_devcoredump(name: str, data: Path, folder: Path) -> tuple[str, bool]:
    """Copies a dump beside the record before it expires: the name of the copy, and whether it is whole.

    Raises `OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"devcoredump-{name}"
    left = _DUMP_BYTES
    with data.open("rb") as source, target.open("wb") as copy:
        while left > 0 and (chunk := source.read(min(_CHUNK, left))):
            copy.write(chunk)
            left -= len(chunk)
        return target.name, left > 0 or not source.read(1)
