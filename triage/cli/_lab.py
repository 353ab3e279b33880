"""`triage lab`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from triage.cli._console import Catalogue, read_catalogue


def lab(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[CASE]...", help="Which cases; all without any.")] = None,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the working copies go.")] = Path("lab"),
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A notebook parameter; may be repeated."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser as well.")] = True,
    ip: Annotated[str, typer.Option("--ip", metavar="ADDRESS", help="Where JupyterLab listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535, help="Its port.")] = 8888,
    catalogue: Catalogue = None,
) -> None:
    """Open the notebooks of cases in JupyterLab, with this installation's kernel and the environment that vLLM needs.

    Writes DIR/<case>.ipynb, a copy with the parameters of the case; one that is there already is left as it is.
    JupyterLab takes this process over: Ctrl-C ends it.
    """
    from triage.report import plan_cases, plan_lab, prepare_notebooks

    plans = plan_cases(read_catalogue(catalogue), ids=ids or (), texts=parameters or (), folder=catalogue)
    paths = prepare_notebooks(plans, out)
    options = [f"--ServerApp.ip={ip}", f"--ServerApp.port={port}", *(() if browser else ("--no-browser",))]
    if os.geteuid() == 0:  # in a container one is root, and JupyterLab refuses root unless told
        options.append("--allow-root")
    command, environment = plan_lab(out, opened=paths[0] if ids else None, options=options, catalogue=catalogue)
    os.execve(command[0], command, dict(environment))
