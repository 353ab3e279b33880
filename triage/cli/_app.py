"""The app: its commands, and how errors become sentences and exit codes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from triage.cli._cases import cases
from triage.cli._counts import counts
from triage.cli._doctor import doctor
from triage.cli._env import env
from triage.cli._index import index
from triage.cli._keys import keys
from triage.cli._lab import lab
from triage.cli._log import log
from triage.cli._matrix import matrix
from triage.cli._new import new
from triage.cli._plan import plan
from triage.cli._run import run
from triage.cli._snapshots import snapshots
from triage.cli._tokens import tokens
from triage.cli._verify import verify
from triage.cli._watch import watch
from triage.errors import TriageError
from triage.result import Verdict

app = typer.Typer(
    name="triage",
    help="Find out why a vLLM test is red on AMD ROCm, and prove that a fix works before it goes upstream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def triage(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Find out why a vLLM test is red on AMD ROCm, and prove that a fix works before it goes upstream."""
    if version:
        from importlib import metadata

        typer.echo(f"triage {metadata.version('triage')}")
        raise typer.Exit


for command in (log, cases, run, index, tokens, counts, snapshots, keys, matrix, plan, watch, verify, lab, new, doctor):
    app.command()(command)
app.add_typer(env)


def run_main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its code; every error is a sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal in LANG=C has no ▁; an escape beats a traceback
    sys.exit(run_app(arguments))


def run_app(arguments: Sequence[str] | None) -> int:
    # From 0.26 on typer carries a click of its own, whose classes are not those of the package click.
    usage_error: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    try:
        code = app(args=arguments, prog_name="triage", standalone_mode=False)
    except TriageError as error:
        _complain(str(error))
        return error.exit_code
    except usage_error as error:
        return _complain_of_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return Verdict.INCOMPLETE.exit_code
    except BrokenPipeError:
        # The reader of our stdout has gone (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _complain(text: str) -> None:
    typer.echo(f"triage: {text}", err=True)


def _complain_of_usage(error: Any) -> int:
    message = error.format_message().strip()
    if message:
        command = error.ctx.command_path if getattr(error, "ctx", None) else "triage"
        _complain(f"{message.rstrip('.')}. See `{command} --help`.")
    else:
        typer.echo(error.ctx.get_help(), err=True)  # `triage` alone
    return 2
