"""The short way to `triage watch`: half of what the command itself may cost would go into loading typer.

It understands a well-formed call and nothing else; help and mistakes are left to the app.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triage.errors import TriageError

if TYPE_CHECKING:
    from triage.hangs import HangRecord

_PAGE = "report.html"
_PAGE_LIMIT_S = 60.0
_OPTIONS = {"--stall-s": float, "--timeout-s": float, "--out": Path}


def run_quickly(arguments: Sequence[str]) -> int | None:
    """The exit code of a well-formed `triage watch`; None for every other call, of which nothing has been done."""
    if list(arguments[:1]) != ["watch"]:
        return None
    options = read_options(arguments[1:])
    if options is None:
        return None
    try:
        return run_watch(**options)
    except TriageError as error:
        print(f"triage: {error}", file=sys.stderr)
        return error.exit_code


def read_options(words: Sequence[str]) -> dict[str, Any] | None:
    """The options and the command after the two dashes; None where the app is to say what is wrong.

    >>> read_options(["--stall-s=5", "--", "sleep", "9"])
    {'stall_s': 5.0, 'timeout_s': None, 'out': None, 'command': ['sleep', '9']}
    >>> read_options(["--stall", "5"]) is None
    True
    """
    if "--" not in words:
        return None
    cut = list(words).index("--")
    given: dict[str, Any] = {"stall_s": 300.0, "timeout_s": None, "out": None, "command": list(words[cut + 1 :])}
    rest = iter(words[:cut])
    for word in rest:
        name, equals, value = word.partition("=")
        kind = _OPTIONS.get(name)
        text = value if equals else next(rest, None)
        if kind is None or text is None:
            return None
        try:
            given[name[2:].replace("-", "_")] = kind(text)
        except ValueError:
            return None
    return given


def run_watch(command: Sequence[str], *, stall_s: float, timeout_s: float | None, out: Path | None) -> int:
    """Watches, tells, and returns the exit code."""
    from triage.hangs._watch import watch_command

    folder = _choose_folder() if out is None else out
    record = watch_command(command, out=folder, stall_s=stall_s, timeout_s=timeout_s)
    page = _write_page(record, folder)
    _tell(record, folder / (page or "hang.json"))
    return record.exit_code


def _write_page(record: HangRecord, folder: Path) -> str | None:
    """The page beside the record, after anything but a clean end; its name, or None where there is none.

    A process of its own writes it: whatever befalls it, the exit code is the command's. Whoever stops the watch does
    not wait for a page.
    """
    import subprocess

    from triage.hangs._record import Ending

    if record.ending is Ending.STOPPED or record.exit_code == 0:
        return None
    words = [sys.executable, "-m", "triage.report._hang", str(folder / "hang.json"), str(folder / _PAGE)]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PAGE_LIMIT_S, check=False
        )
        why = done.stderr.strip().splitlines()[-1:] if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        why = [str(error)]
    if why is None:
        return _PAGE
    print(f"triage: {folder / _PAGE} was not written: {''.join(why) or 'it ended without a word'}", file=sys.stderr)
    return None


def _choose_folder() -> Path:
    import os
    import tempfile
    import time

    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    here = Path("triage-watch")
    usable = os.access(here if here.is_dir() else ".", os.W_OK) and (here.is_dir() or not here.exists())
    return (here if usable else Path(tempfile.gettempdir()) / "triage-watch") / name


def _tell(record: HangRecord, page: Path) -> None:
    """One sentence on stderr, where something happened that the command itself does not say."""
    from triage.hangs._record import Ending, HangClass

    ended_by_us = record.ending in {Ending.STALLED, Ending.TIME_LIMIT, Ending.STOPPED}
    if not ended_by_us and not record.orphans and record.diagnosis.hang_class is HangClass.NONE:
        return
    print(f"triage: {_describe(record)} See {page}", file=sys.stderr)


def _describe(record: HangRecord) -> str:
    from triage.hangs._record import Ending

    match record.ending:
        case Ending.STALLED:
            what = f"no sign of life for {record.last_progress.age_s:.0f} s"
        case Ending.TIME_LIMIT:
            what = f"the time limit of {record.timeout_s:g} s is over"
        case Ending.STOPPED:
            return "stopped; the command has been ended."
        case _ if record.orphans:
            names = ", ".join(f"{left.name} (pid {left.pid})" for left in record.orphans)
            return f"ended what the command left behind: {names}."
        case _:
            what = "the command ended"
    where = f" in phase {record.phase}" if record.phase else ""
    because = f" {record.diagnosis.because[0]}" if record.diagnosis.because else ""
    return f"{what}{where}: {record.diagnosis.hang_class}.{because}"
