"""`triage watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from triage.cli._quick import run_watch


def watch(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CMD...", help="The command, after two dashes.", show_default=False)
    ] = None,
    *,
    stall_s: Annotated[
        float, typer.Option("--stall-s", metavar="S", help="Seconds without any sign of life that make a hang.")
    ] = 300.0,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout-s", metavar="S", help="The time limit in seconds; none without it.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where hang.json goes; a new folder in triage-watch without it."),
    ] = None,
) -> None:
    """Run a command under a supervisor that tells slow from stuck, and keeps the evidence before it ends anything.

    Output and exit code pass through; death by signal N is 128+N. Output, work on the CPU or a GPU, reads and writes
    are signs of life. DIR/hang.json is always there; after a hang, stacks, state and a report lie beside it. Exits 124
    on a hang or at the time limit (nothing of the command is left then), and 2 for a command that cannot be run.
    """
    raise typer.Exit(run_watch(command or [], stall_s=stall_s, timeout_s=timeout_s, out=out))
