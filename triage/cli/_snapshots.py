"""`triage snapshots`."""

from __future__ import annotations

import json

import typer

from triage.cli._console import AsJson, open_console, quote


def snapshots(*, as_json: AsJson = False) -> None:
    """List the models of the local Hub cache: each revision can be named as owner/name@revision. No network."""
    from triage.engine.hub import list_cached

    held = list_cached()
    if as_json:
        rows = [
            {"repo": s.repo, "revision": s.revision, "refs": list(s.refs), "tokenizer": s.has_tokenizer} for s in held
        ]
        typer.echo(json.dumps({"snapshots": rows}))
        return
    if not held:
        open_console(stderr=True).print("The local Hub cache holds no model.")
        return
    from rich.table import Table

    table = Table(
        "model", "revision", "branches and tags", "tokenizer", box=None, header_style="bold", padding=(0, 2, 0, 0)
    )
    for snapshot in held:
        refs = ", ".join(snapshot.refs)
        table.add_row(quote(snapshot.repo), snapshot.revision, quote(refs), "yes" if snapshot.has_tokenizer else "no")
    open_console(stderr=False).print(table)
