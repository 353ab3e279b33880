"""The `triage` command: parses, calls, prints, exits; nothing else.

Data goes to stdout, everything else to stderr. Exit codes: 0 conclusive, 1 ``--expect`` not met, 2 bad usage or
input, 3 inconclusive or infra, 4 incomplete. Heavy imports stay inside the commands: ``triage --help`` is quick.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triage.errors import InputError, TriageError
from triage.result import Result, Verdict

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="triage",
    help="Find out why a vLLM test is red on AMD ROCm, and prove that a fix works before it goes upstream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Place(StrEnum):
    """Where `triage run` runs a notebook."""

    LOCAL = "local"
    SLURM = "slurm"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Catalogue = Annotated[
    Path | None,
    typer.Option("--catalogue", metavar="DIR", help="A folder of your own case files, with notebooks beside them."),
]


@app.callback(invoke_without_command=True)
def triage(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Find out why a vLLM test is red on AMD ROCm, and prove that a fix works before it goes upstream."""
    if version:
        from importlib import metadata

        typer.echo(f"triage {metadata.version('triage')}")
        raise typer.Exit


@app.command()
def cases(*, as_json: AsJson = False, catalogue: Catalogue = None) -> None:
    """List the known failing cases."""
    known = _read_catalogue(catalogue)
    fields = ("id", "family", "title", "upstream", "test", "notebook")
    if as_json:
        rows = [{name: getattr(case, name) for name in fields} for case in known]
        typer.echo(json.dumps({"cases": rows}, indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("case", "family", "title", "test", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for case in known:
        table.add_row(case.id, case.family.value, _plain(case.title), _plain(case.test))
    _open_console(stderr=False).print(table)


@app.command()
def run(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[CASE]...", help="Which cases; all without any.")] = None,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the reports go.")] = Path("reports"),
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A notebook parameter; may be repeated."),
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", metavar="N", min=1, help="How many cases at a time.")] = 1,
    expect: Annotated[
        Verdict | None,
        typer.Option("--expect", case_sensitive=False, help="Exit 1 if a verdict is another one."),
    ] = None,
    on: Annotated[Place, typer.Option("--on", help="Where the notebooks run.")] = Place.LOCAL,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", metavar="S", min=1, help="The time limit of one notebook, in seconds.")
    ] = 1800,
    catalogue: Catalogue = None,
    as_json: AsJson = False,
) -> None:
    """Run the reproduction notebooks of cases, and write a report for each and an index over all.

    Writes DIR/<case>/{notebook.ipynb, report.html, result.json} and DIR/index.{html,json}. Exits 0 if every verdict
    is conclusive (or the expected one), 1 if --expect is not met, 2 for bad input, 3 for INFRA or INCONCLUSIVE, and
    4 if a notebook did not finish.
    """
    if on is Place.SLURM:
        raise InputError("Running on Slurm is not built yet.", hint="Leave --on out, or say --on local.")
    from triage.report import plan_cases, reproduce_cases

    plans = plan_cases(_read_catalogue(catalogue), ids=ids or (), texts=parameters or (), folder=catalogue)
    console = _open_console(stderr=True)
    with _stop_on_signals() as stop:
        results = reproduce_cases(
            plans,
            out,
            jobs=jobs,
            timeout_s=timeout_s,
            stop=stop,
            on_begin=lambda case: console.print(f"[dim]running[/] {case.id}"),
            on_end=lambda result: console.print(f"[dim]ended  [/] {result.case}: {result.verdict}"),
        )
    _print_table(console, results, out)
    if as_json:
        typer.echo((out / "index.json").read_text(encoding="utf-8").rstrip())
    else:
        typer.echo(out / "index.html")
    raise typer.Exit(choose_exit_code(results, expect=expect))


@app.command()
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
            table.add_row(check.name, state, _plain(check.detail), _plain(check.mend))
        _open_console(stderr=False).print(table)
    raise typer.Exit(0 if ok else Verdict.INFRA.exit_code)


def choose_exit_code(results: Sequence[Result], *, expect: Verdict | None = None) -> int:
    """The exit code of a run: the worst of its results.

    A run that did not finish cannot meet or miss an expectation, unless INCOMPLETE is what was expected.

    >>> one = Result(case="c", family="unknown", verdict="REPRODUCED", cause="seen", next_command="")
    >>> choose_exit_code([one, one.model_copy(update={"verdict": Verdict.INCONCLUSIVE})])
    3
    >>> choose_exit_code([one], expect=Verdict.NOT_REPRODUCED)
    1
    """
    if expect is None:
        return max((result.exit_code for result in results), default=0)
    others = [result for result in results if result.verdict is not expect]
    unfinished = [result.exit_code for result in others if result.verdict is Verdict.INCOMPLETE]
    return max(unfinished, default=1 if others else 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: runs a command and exits with its code; every error is a sentence on stderr."""
    sys.exit(_run_app(arguments))


def _run_app(arguments: Sequence[str] | None) -> int:
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


def _read_catalogue(folder: Path | None) -> tuple[Any, ...]:
    from triage.cases import read_cases

    if folder is None:
        return read_cases()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", hint="Name a folder of case files: --catalogue DIR.")
    return read_cases(folder)


def _open_console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # A log has no width: whoever searches it wants a cause on one line.
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 10_000)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _print_table(console: Console, results: Sequence[Result], out: Path) -> None:
    from rich import box
    from rich.table import Table

    colours = {0: "green", 3: "yellow", 4: "red"}
    table = Table("case", "verdict", "cause", box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("report", overflow="fold")  # a path that is cut short opens nothing
    for result in results:
        verdict = f"[{colours[result.verdict.exit_code]}]{result.verdict}[/]"
        table.add_row(result.case, verdict, _plain(result.cause), _plain(str(out / result.case / "report.html")))
    console.print(table)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Ctrl-C, SIGTERM and a closed terminal set an event, so that a report is never cut while it is written."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@app.command()
def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model folder, tiny:NAME, or owner/name@revision.")],
    *,
    limits: Annotated[
        str | None,
        typer.Option("--limit-mm-per-prompt", metavar="JSON", help="Items per prompt by modality; 0 removes one."),
    ] = None,
    max_model_len: Annotated[int | None, typer.Option("--max-model-len", metavar="N", min=1, help="Tokens.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option("--max-num-seqs", metavar="N", min=1, help="Sequences.")] = None,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option("--max-num-batched-tokens", metavar="N", min=1, help="Tokens in a step.")
    ] = None,
    model_impl: Annotated[
        str | None, typer.Option("--model-impl", metavar="auto|vllm|transformers", help="Whose implementation runs.")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="JSON", help="A second --limit-mm-per-prompt to compare with.")
    ] = None,
    suggest: Annotated[
        str | None,
        typer.Option("--suggest", metavar="NAME=N,...", help="What the test sends: print the limits that cover it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what vLLM's start-up profiling will push through a multimodal encoder, why, and what that takes.

    Asks vLLM itself; needs no GPU, no weights and no engine start. Exits 2 for a model without an encoder, a modality
    that it does not know, and limits that are no JSON object of whole numbers from 0.
    """
    from triage.encoder import answer_plan, compare_plans, read_model_impl

    answer = answer_plan(
        model,
        limits=limits,
        against=against,
        suggest=suggest,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        model_impl=None if model_impl is None else read_model_impl(model_impl),
    )
    if as_json:
        typer.echo(json.dumps(answer.to_json(), indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    frame = compare_plans(answer.plans)
    table = Table(*map(str, frame.columns), box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in frame.itertuples(index=False):
        table.add_row(*(_plain(str(value)) for value in row))
    console = _open_console(stderr=False)
    console.print(table)
    for sentence in answer.list_sentences():
        console.print(f"\n{_plain(sentence)}")


if __name__ == "__main__":
    main()
