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
from triage.cli._slurm import Exclude, Gpus, Nodes, Parallel, Partition, Place, read_slurm
from triage.result import Result, Verdict

if TYPE_CHECKING:
    from rich.console import Console


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
        bool,
        typer.Option("--resume", help="Keep conclusive results of the same notebooks, parameters and versions."),
    ] = False,
    catalogue: Catalogue = None,
    as_json: AsJson = False,
) -> None:
    """Run the reproduction notebooks of cases, and write a report for each and an index over all.

    Writes DIR/<case>/{notebook.ipynb, report.html, result.json} and DIR/index.{html,json,junit.xml}. Runs no more at a
    time than there are cores, memory and GPUs for, each on a GPU of its own. Exits 0 if every verdict
    is conclusive (or the expected one), 1 if --expect is not met, 2 for bad input, 3 for INFRA or INCONCLUSIVE, and
    4 if a notebook did not finish.
    """
    from triage.cli._live import show_run
    from triage.report import list_gpus, plan_cases, plan_jobs, reproduce_cases, reproduce_on_slurm

    plans = plan_cases(read_catalogue(catalogue), ids=ids or (), texts=parameters or (), folder=catalogue)
    console = open_console(stderr=True)
    slurm = read_slurm(
        on, partition=partition, nodes=nodes, exclude=exclude, gpus=gpus, parallel=parallel, time_limit_s=math.inf
    )
    results: Sequence[Result]
    if slurm is not None:
        console.print(f"[dim]on Slurm[/] {', '.join(plan.case.id for plan in plans)}")
        with show_run(console, plans) as observer:
            results = reproduce_on_slurm(
                plans, out, options=slurm, timeout_s=timeout_s, resume=resume, expect=expect, observer=observer
            )
    else:
        devices = list_gpus()
        possible = plan_jobs(min(jobs, len(plans)), gpus=len(devices))
        if possible.limit:
            console.print(f"[dim]{possible.count} at a time: {possible.limit}[/]")
        with _stop_on_signals() as stop, show_run(console, plans) as observer:
            results = reproduce_cases(
                plans,
                out,
                jobs=possible.count,
                gpus=devices,
                timeout_s=timeout_s,
                stop=stop,
                resume=resume,
                expect=expect,
                observer=observer,
            )
    _print_table(console, results, out)
    if as_json:
        typer.echo((out / "index.json").read_text(encoding="utf-8").rstrip())
    else:
        typer.echo(out / "index.html")
    raise typer.Exit(choose_exit_code(results, expect=expect))


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

    from triage.cli._live import COLOURS

    table = Table("case", "verdict", "cause", box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("report", overflow="fold")  # a path that is cut short opens nothing
    for result in results:
        verdict = f"[{COLOURS[result.verdict.exit_code]}]{result.verdict}[/]"
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
