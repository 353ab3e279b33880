"""`triage cases`."""

from __future__ import annotations

import json

import typer

from triage.cli._console import AsJson, Catalogue, open_console, quote, read_catalogue


def cases(*, as_json: AsJson = False, catalogue: Catalogue = None) -> None:
    """List the known failing cases."""
    known = read_catalogue(catalogue)
    fields = ("id", "family", "title", "upstream", "test", "notebook")
    if as_json:
        rows = [{name: getattr(case, name) for name in fields} for case in known]
        typer.echo(json.dumps({"cases": rows}, indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("case", "family", "title", "test", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for case in known:
        table.add_row(case.id, case.family.value, quote(case.title), quote(case.test))
    open_console(stderr=False).print(table)
