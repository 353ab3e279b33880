"""`triage doctor`."""

from __future__ import annotations

import json

import typer

from triage.cli._console import AsJson, open_console, quote
from triage.result import Verdict


def doctor(*, as_json: AsJson = False) -> None:
    """Check whether this machine can run the cases, and say what mends it where it cannot.

    Exits 0 if all is well, 3 otherwise.
    """
    from dataclasses import asdict

    from triage.doctor import check_machine

    checks = check_machine()
    ok = all(check.ok for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": ok, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        from rich.table import Table

        table = Table("check", "", "found", "mend", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for check in checks:
            state = "[green]ok[/]" if check.ok else "[red]no[/]"
            table.add_row(check.name, state, quote(check.detail), quote(check.mend))
        open_console(stderr=False).print(table)
    raise typer.Exit(0 if ok else Verdict.INFRA.exit_code)
