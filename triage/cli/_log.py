"""`triage log`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triage.cli._console import AsJson, Catalogue, open_console, quote, read_catalogue

if TYPE_CHECKING:
    from rich.console import Console

    from triage.logs import LogReport


def log(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="A log, plain, .gz or .zst; JUnit XML; a folder of them; - for stdin."),
    ],
    *,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="Rules of your own instead of triage's, as TOML.")
    ] = None,
    with_case: Annotated[bool, typer.Option("--cases", help="Only failures that a known case reproduces.")] = False,
    catalogue: Catalogue = None,
    as_json: AsJson = False,
) -> None:
    """Find the failures of CI logs, their families, and the commands that reproduce them.

    One failure for each root: an engine that died of a HIP error is a failure of the HIP error. `infra` says that the
    node or a service failed, not the code. Failures found are no error: exit 0. An unknown family is an answer too.
    """
    from triage.logs import list_logs, read_log, read_rules

    cases = read_catalogue(catalogue)
    own = read_rules(rules) if rules else None
    reports = [read_log(path, cases=cases, rules=own) for path in list_logs(paths)]
    if with_case:
        reports = [_keep_cases(report) for report in reports]
    if as_json:
        typer.echo(json.dumps(describe_reports(reports)))
        return
    _print_reports(reports)


def _keep_cases(report: LogReport) -> LogReport:
    runs = [replace(run, failures=tuple(f for f in run.failures if f.case)) for run in report.runs]
    return replace(report, runs=tuple(runs))


def describe_reports(reports: Sequence[LogReport]) -> dict[str, Any]:
    """The answer of ``triage log --json``."""
    return {
        "failures": [failure.to_json() for report in reports for failure in report.failures],
        "stats": {
            "bytes": sum(report.bytes for report in reports),
            "lines": sum(report.lines for report in reports),
            "seconds": sum(report.seconds for report in reports),
        },
        "logs": [{"log": r.log, "failures": len(r.failures), "notes": list(r.notes)} for r in reports],
    }


def _print_reports(reports: Sequence[LogReport]) -> None:
    from rich.table import Table

    console = open_console(stderr=False)
    notes = open_console(stderr=True)
    for report in reports:
        for note in report.notes:
            notes.print(f"[yellow]note[/] {quote(report.log)}: {quote(note)}")
    failures = [failure for report in reports for failure in report.failures]
    if not failures:
        several = f"{len(reports)} logs" if len(reports) > 1 else reports[0].log
        console.print(f"{quote(several)}: no failure in {sum(r.lines for r in reports):,} lines.")
        return
    heads = ("job", "test", "family", "infra", "line", "root")
    table = Table(*heads, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for failure in failures:
        place = f"{failure.log}:{failure.root.n}" if len(reports) > 1 else str(failure.root.n)
        more = f" (+{len(failure.also)} tests)" if failure.also else ""
        table.add_row(
            quote(failure.job or ""),
            quote((failure.test or "no test") + more),
            failure.family.value,
            "yes" if failure.infra else "no",
            quote(place),
            quote(failure.root.text),
        )
    console.print(table)
    _print_commands(console, reports)


def _print_commands(console: Console, reports: Sequence[LogReport]) -> None:
    told = set()
    for failure in (failure for report in reports for failure in report.failures):
        known = ", ".join(f"{name} {value}" for name, value in failure.captures.items())
        said = "; ".join(text for text in (failure.note, known) if text)
        line = (failure.case, failure.command, said)
        if line in told:
            continue
        told.add(line)
        console.print(f"\n[bold]{failure.family.value}[/] {failure.signature} {quote(said)}".rstrip())
        if failure.command:
            console.print(f"  {quote(failure.command)}")
        else:
            console.print("  Nothing in the code to reproduce: run the job again, elsewhere if it comes back.")
