"""`triage index`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from triage.cli._console import AsJson


def index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that holds the --out folders of the runs.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Write one index over the results of many runs: of several nodes, versions or days.

    Writes DIR/index.{html,json,junit.xml} over every result.json below DIR. The page filters by family, verdict,
    version and node, and says what changed since DIR was indexed last.
    """
    from triage.report import index_folder

    found = index_folder(folder)
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else folder / "index.html")
