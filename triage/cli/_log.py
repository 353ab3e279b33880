"""`triage log`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triage.cli._console import AsJson, Catalogue, open_console, quote, read_catalogue
from triage.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from triage.logs import Failure, Judgement, Ledger, LogReport, Rules

_LISTED = 40  # failures in the table; of more, the kinds are shown


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """The reports of all logs, and what they say together."""

    reports: Sequence[LogReport]
    judgements: Sequence[Judgement]
    ledger: Ledger

    @property
    def failures(self) -> list[Failure]:
        return [failure for report in self.reports for failure in report.failures]


def log(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="A log, plain, .gz or .zst; JUnit XML; a folder of them; - for stdin."),
    ],
    *,
    builds: Annotated[
        Path | None,
        typer.Option("--builds", metavar="FILE", help="Builds as Buildkite's API lists them: nodes, times, retries."),
    ] = None,
    issues: Annotated[
        Path | None,
        typer.Option("--issues", metavar="DIR", help="Write the text of an issue for each kind of failure."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="Run the notebook ci_log on the logs; writes its page."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="Rules of your own instead of triage's, as TOML.")
    ] = None,
    with_case: Annotated[bool, typer.Option("--cases", help="Only failures that a known case reproduces.")] = False,
    catalogue: Catalogue = None,
    as_json: AsJson = False,
) -> None:
    """Find the failures of CI logs, their families, and the commands that reproduce them.

    One failure for each root: an engine that died of a HIP error is a failure of the HIP error. `infra` says that the
    node or a service failed, not the code. Of several logs: which failures are one kind, since when, on which nodes,
    bound to a node or to the code, and whether a retry helped. Failures found are no error: exit 0. An unknown family
    is an answer too.
    """
    from triage.logs import list_logs, read_rules

    if report and "-" in paths:
        raise InputError("Standard input can be read only once.", hint="Save the log, and name its file.")
    own = read_rules(rules) if rules else None
    found = list_logs(paths)
    answer = _read(found, builds=builds, rules=own, cases=read_catalogue(catalogue), with_case=with_case)
    written = _write_issues(answer, issues) if issues else []
    if report:
        written.append(_write_report(found, builds, report))
    if as_json:
        typer.echo(json.dumps(_describe(answer)))
    else:
        _print(answer)
    for path in written:
        typer.echo(f"wrote {path}", err=True)


def _read(
    paths: Sequence[str], *, builds: Path | None, rules: Rules | None, cases: Sequence[Any], with_case: bool
) -> _Answer:
    from rich.progress import Progress

    from triage.logs import add_builds, cluster_failures, judge_bindings, pair_retries, read_builds, read_logs

    known = read_builds(builds) if builds else ()
    with Progress(console=open_console(stderr=True), transient=True, disable=len(paths) < 2) as progress:
        task = progress.add_task("reading logs", total=len(paths))
        reports = list(read_logs(paths, cases=cases, rules=rules, on_log=lambda _: progress.advance(task)))
    if known:
        reports = add_builds(reports, known)
    if with_case:
        reports = [_keep_cases(report) for report in reports]
    runs = [run for report in reports for run in report.runs]
    judgements = judge_bindings(cluster_failures(runs), runs)
    return _Answer(reports=reports, judgements=judgements, ledger=pair_retries(runs))


def _keep_cases(report: LogReport) -> LogReport:
    runs = [replace(run, failures=tuple(f for f in run.failures if f.case)) for run in report.runs]
    return replace(report, runs=tuple(runs))


def _describe(answer: _Answer) -> dict[str, Any]:
    """The answer of ``triage log --json``."""
    from triage.logs import count_causes

    reports = answer.reports
    return {
        "failures": [failure.to_json() for failure in answer.failures],
        "clusters": [judgement.cluster.to_json() | judgement.to_json() for judgement in answer.judgements],
        "runs": [run.to_json() for report in reports for run in report.runs],
        "retries": [row.to_json() for row in count_causes(answer.ledger.retries)],
        "not_retried": answer.ledger.not_retried,
        "unclear_retries": answer.ledger.unclear,
        "stats": {
            "bytes": sum(report.bytes for report in reports),
            "lines": sum(report.lines for report in reports),
            "seconds": sum(report.seconds for report in reports),
        },
        "logs": [{"log": r.log, "failures": len(r.failures), "notes": list(r.notes)} for r in reports if r.log],
    }


def _write_issues(answer: _Answer, folder: Path) -> list[Path]:
    from triage.files import make_folder, write_atomic
    from triage.logs import render_issue

    runs = [run for report in answer.reports for run in report.runs]
    texts = [render_issue(judgement, runs=runs, ledger=answer.ledger) for judgement in answer.judgements]
    paths = [make_folder(folder) / f"{text.name}.md" for text in texts]
    for path, text in zip(paths, texts, strict=True):
        write_atomic(path, text.to_markdown())
    return paths


def _write_report(paths: Sequence[str], builds: Path | None, folder: Path) -> Path:
    """Runs the notebook of CI logs; its kernel has another working folder, so it is told whole paths."""
    from triage.cases import read_case
    from triage.report import reproduce_case

    case = read_case("ci-log")
    files = [str(Path(path).absolute()) for path in paths]
    parameters = {"files": files} | ({"builds": str(builds.absolute())} if builds else {})
    reproduce_case(case, folder, parameters=parameters)
    return folder / case.id / "report.html"


def _print(answer: _Answer) -> None:
    console = open_console(stderr=False)
    notes = open_console(stderr=True)
    for report in answer.reports:
        for note in report.notes:
            notes.print(f"[yellow]note[/] {quote(report.log)}: {quote(note)}")
    logs = [report for report in answer.reports if report.log]
    failures = answer.failures
    if not failures:
        several = f"{len(logs)} logs" if len(logs) > 1 else logs[0].log
        console.print(f"{quote(several)}: no failure in {sum(r.lines for r in logs):,} lines.")
        return
    if len(failures) <= _LISTED:
        _print_failures(console, answer.failures, several=len(logs) > 1)
    if len(logs) > 1:
        _print_clusters(console, answer, len(logs))
    _print_commands(console, [judgement.cluster.occurrences[0].failure for judgement in answer.judgements])


def _print_failures(console: Console, failures: Sequence[Failure], *, several: bool) -> None:
    from rich.table import Table

    heads = ("job", "test", "family", "infra", "line", "root")
    table = Table(*heads, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for failure in failures:
        place = f"{failure.log}:{failure.root.n}" if several else str(failure.root.n)
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


def _print_clusters(console: Console, answer: _Answer, logs: int) -> None:
    from rich.table import Table

    from triage.logs import count_causes, explain_retries, tabulate_clusters, tabulate_retries

    console.print(f"\n[bold]{len(answer.failures)} failures of {len(answer.judgements)} kinds in {logs} logs[/]")
    rows = count_causes(answer.ledger.retries)
    for frame in (tabulate_clusters(answer.judgements), tabulate_retries(rows)):
        if frame.empty:
            continue
        table = Table(*map(str, frame.columns), box=None, header_style="bold", padding=(0, 2, 0, 0))
        for row in frame.itertuples(index=False):
            table.add_row(*(quote(str(value)) for value in row))
        console.print(table)
        console.print()
    console.print(quote("\n".join(judgement.explain() for judgement in answer.judgements if judgement.place)))
    console.print(quote(explain_retries(answer.ledger)))


def _print_commands(console: Console, failures: Sequence[Failure]) -> None:
    from triage.logs import explain_no_command

    for failure in failures:
        known = ", ".join(f"{name} {value}" for name, value in failure.captures.items())
        said = "; ".join(text for text in (failure.note, known) if text)
        console.print(f"\n[bold]{failure.family.value}[/] {failure.signature} {quote(said)}".rstrip())
        if failure.command:
            console.print(f"  {quote(failure.command)}")
        else:
            console.print(f"  {explain_no_command(failure)}")
        if failure.with_model:
            console.print(f"  {quote(failure.with_model)}  [dim]# with the job's own model, if the Hub cache has it[/]")
