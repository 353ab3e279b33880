"""`triage run`."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from triage.cli._console import AsJson, Catalogue, open_console, quote, read_catalogue
from triage.cli._slurm import PANEL, Exclude, Gpus, Nodes, Parallel, Partition, Place, read_slurm
from triage.result import Result, Verdict

if TYPE_CHECKING:
    from rich.console import Console

    from triage.fleet import SlurmOptions
    from triage.report import Plan


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
    partition: Partition = None,
    nodes: Nodes = None,
    exclude: Exclude = None,
    gpus: Gpus = None,
    parallel: Parallel = 8,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run on Slurm whose driver has ended.", rich_help_panel=PANEL)
    ] = False,
    catalogue: Catalogue = None,
    as_json: AsJson = False,
) -> None:
    """Run the reproduction notebooks of cases, and write a report for each and an index over all.

    Writes DIR/<case>/{notebook.ipynb, report.html, result.json} and DIR/index.{html,json}. Exits 0 if every verdict
    is conclusive (or the expected one), 1 if --expect is not met, 2 for bad input, 3 for INFRA or INCONCLUSIVE, and
    4 if a notebook did not finish.
    """
    from triage.report import plan_cases

    plans = plan_cases(read_catalogue(catalogue), ids=ids or (), texts=parameters or (), folder=catalogue)
    console = open_console(stderr=True)
    slurm = read_slurm(
        on, partition=partition, nodes=nodes, exclude=exclude, gpus=gpus, parallel=parallel, time_limit_s=math.inf
    )
    if slurm is None:
        results = _run_here(plans, out, console, jobs=jobs, timeout_s=timeout_s)
    else:
        results = _run_on_slurm(plans, out, console, options=slurm, timeout_s=timeout_s, resume=resume)
    _print_table(console, results, out)
    if as_json:
        typer.echo((out / "index.json").read_text(encoding="utf-8").rstrip())
    else:
        typer.echo(out / "index.html")
    raise typer.Exit(choose_exit_code(results, expect=expect))


def _run_here(plans: Sequence[Plan], out: Path, console: Console, *, jobs: int, timeout_s: float) -> tuple[Result, ...]:
    from triage.report import reproduce_cases

    with _stop_on_signals() as stop:
        return reproduce_cases(
            plans,
            out,
            jobs=jobs,
            timeout_s=timeout_s,
            stop=stop,
            on_begin=lambda case: console.print(f"[dim]running[/] {case.id}"),
            on_end=lambda result: _tell_end(console, result),
        )


def _run_on_slurm(
    plans: Sequence[Plan], out: Path, console: Console, *, options: SlurmOptions, timeout_s: float, resume: bool
) -> tuple[Result, ...]:
    from triage.report import reproduce_on_slurm

    console.print(f"[dim]on Slurm[/] {', '.join(plan.case.id for plan in plans)}")
    return reproduce_on_slurm(
        plans,
        out,
        options=options,
        timeout_s=timeout_s,
        resume=resume,
        on_end=lambda result: _tell_end(console, result),
    )


def _tell_end(console: Console, result: Result) -> None:
    console.print(f"[dim]ended  [/] {result.case}: {result.verdict}")


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


def _print_table(console: Console, results: Sequence[Result], out: Path) -> None:
    from rich import box
    from rich.table import Table

    colours = {0: "green", 3: "yellow", 4: "red"}
    table = Table("case", "verdict", "cause", box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("report", overflow="fold")  # a path that is cut short opens nothing
    for result in results:
        verdict = f"[{colours[result.verdict.exit_code]}]{result.verdict}[/]"
        table.add_row(result.case, verdict, quote(result.cause), quote(str(out / result.case / "report.html")))
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
