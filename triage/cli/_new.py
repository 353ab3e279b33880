"""`triage new`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from triage.cli._console import AsJson
from triage.result import Family


def new(
    case_id: Annotated[str, typer.Argument(metavar="CASE", help="Its id: lower-case letters, digits and dashes.")],
    *,
    family: Annotated[Family, typer.Option("--family", help="The kind of failure.")],
    upstream: Annotated[str, typer.Option("--upstream", metavar="URL", help="The issue or pull request on GitHub.")],
    test: Annotated[str, typer.Option("--test", metavar="TEST", help="The upstream test, as pytest is given it.")],
    title: Annotated[str, typer.Option("--title", help="One line; without it the symptom, or family and test.")] = "",
    group: Annotated[str, typer.Option("--group", help="The CI group in which the test is red.")] = "",
    symptom: Annotated[str, typer.Option("--symptom", help="The line that shows the failure in the log.")] = "",
    notebook: Annotated[
        str, typer.Option("--notebook", metavar="NAME.ipynb", help="The notebook, if not the family's own.")
    ] = "",
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A notebook parameter; may be repeated."),
    ] = None,
    catalogue: Annotated[
        Path, typer.Option("--catalogue", metavar="DIR", help="The folder that the case file goes to.")
    ] = Path("cases"),
    as_json: AsJson = False,
) -> None:
    """Write the file of a new case: checked, with every parameter of its notebook as a comment to change.

    Nothing that is there already is overwritten. Prints the file and the command that runs the case.
    """
    from triage.cases import draft_case, find_notebook, write_case
    from triage.report import check_parameters, read_parameters

    case = draft_case(
        case_id,
        family=family,
        upstream=upstream,
        test=test,
        title=title,
        group=group,
        symptom=symptom,
        notebook=notebook,
    )
    beside = catalogue / case.notebook
    known = read_parameters(beside if beside.is_file() else find_notebook(case.notebook))
    given = check_parameters(known, texts=parameters or (), place=case.notebook)
    path = write_case(case.model_copy(update={"parameters": given}), catalogue, known=known)
    command = shlex.join(["triage", "run", case.id, "--catalogue", str(catalogue)])
    if as_json:
        typer.echo(json.dumps({"case": case.id, "file": str(path), "notebook": case.notebook, "command": command}))
    else:
        typer.echo(f"{path}\n{command}")
