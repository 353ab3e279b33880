"""What the commands share: options, the console, the catalogue."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triage.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Catalogue = Annotated[
    Path | None,
    typer.Option("--catalogue", metavar="DIR", help="A folder of your own case files, with notebooks beside them."),
]


def open_console(*, stderr: bool) -> Console:
    """A console for data (stdout) or for everything else (stderr)."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # A log has no width: whoever searches it wants a cause on one line.
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 10_000)


def quote(text: str) -> str:
    """A foreign text, safe from rich's markup."""
    from rich.markup import escape

    return escape(text)


def read_catalogue(folder: Path | None) -> tuple[Any, ...]:
    """The cases of a folder, or the built-in ones. Raises `InputError` for what is no folder."""
    from triage.cases import read_cases

    if folder is None:
        return read_cases()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", hint="Name a folder of case files: --catalogue DIR.")
    return read_cases(folder)
