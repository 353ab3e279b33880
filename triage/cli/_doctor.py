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

    from triage.cases import read_cases
    from triage.doctor import check_machine, list_able

    checks = check_machine()
    able = list_able(checks, {case.id: case.family for case in read_cases()})
    ok = all(check.ok for check in checks)
    if as_json:
        told = {"ok": ok, "checks": [asdict(check) for check in checks], "cases": able}
        typer.echo(json.dumps(told, indent=2))
    else:
        from rich.table import Table

        table = Table("check", "", "found", "mend", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for check in checks:
            state = "[red]no[/]" if not check.ok else "[yellow]less[/]" if check.mend else "[green]ok[/]"
            table.add_row(check.name, state, quote(check.detail), quote(check.mend))
        console = open_console(stderr=False)
        console.print(table)
        for case, missing in able.items():
            console.print(f"{case}: {'runs here' if not missing else 'waits for ' + ', '.join(missing)}")
    raise typer.Exit(0 if ok else Verdict.INFRA.exit_code)
