"""`triage env`, `triage env diff`, `triage env bisect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from triage.cli._console import AsJson, open_console, quote

if TYPE_CHECKING:
    from triage.settings import EnvironmentCapture
    from triage.settings._diff import EnvironmentDiff

env = typer.Typer(
    name="env",
    help="Capture what may make this box pass or fail; compare and bisect two captures.",
    add_completion=False,
)


@env.callback(invoke_without_command=True)
def capture(
    context: typer.Context,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the capture to FILE as JSON.")
    ] = None,
    pid: Annotated[
        int | None, typer.Option("--pid", metavar="PID", help="Take the mapped libraries from this running process.")
    ] = None,
    arguments: Annotated[
        str | None,
        typer.Option("--arguments", metavar="WORDS", help="The server's arguments, to be captured beside the rest."),
    ] = None,
    attach: Annotated[
        bool,
        typer.Option("--attach", help="Add vLLM's and torch's collect_env, and import both: half a minute more."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Capture variables, packages, mapped libraries, GPUs, source and Hub cache of this box, redacted.

    Takes about a second without a GPU and imports neither torch nor vLLM; a part that cannot be had is named.
    """
    if context.invoked_subcommand is not None:
        return
    import shlex

    from triage.errors import InputError
    from triage.files import write_atomic
    from triage.settings import capture_environment

    try:
        words = shlex.split(arguments or "")
    except ValueError as error:
        raise InputError(f"--arguments cannot be read as words ({error}).", hint="Close its quotes.") from None
    captured = capture_environment(arguments=words, pid=pid, attach=attach)
    if out is not None:
        write_atomic(out, captured.to_json() + "\n")
    if as_json:
        typer.echo(captured.to_json())
    else:
        _print_capture(captured, out)


@env.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A capture, of the box that passes, say.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another capture.")],
    *,
    for_issue: Annotated[bool, typer.Option("--issue", help="Print Markdown for an issue.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Print also what is not known to matter.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two captures, ranked by what is known to matter. Differences are no error: exit 0."""
    from triage.settings._diff import compare_captures
    from triage.settings._issue import render_for_issue
    from triage.settings._record import read_capture

    found = compare_captures(read_capture(first), read_capture(second))
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    elif for_issue:
        typer.echo(render_for_issue(found), nl=False)
    else:
        _print_diff(found, every=every)


@env.command()
def bisect(
    good: Annotated[Path, typer.Argument(metavar="A", help="The capture of the box where the command passes.")],
    bad: Annotated[Path, typer.Argument(metavar="B", help="The capture of the box where it fails.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CMD...", help="The command, after two dashes.", show_default=False)
    ] = None,
    *,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Runs for each try; more for a flaky failure.")] = 1,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", metavar="S", help="The time limit of one run; beyond it is no failure.")
    ] = 3600.0,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="FILE", help="Keep every outcome here, and go on from it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the smallest set of variables, arguments and package versions of B that makes a command fail.

    Every run starts from A and takes over some of what differs in B. The server's arguments stand in place of the word
    {arguments}, else at the end. Two that do harm only together are found. What cannot be switched here is named.
    """
    from triage.settings._bisect import bisect_environment, plan_bisect
    from triage.settings._record import read_capture

    notes = open_console(stderr=True)
    plan = plan_bisect(read_capture(good), read_capture(bad))
    result = bisect_environment(
        plan,
        command or [],
        runs=runs,
        timeout_s=timeout_s,
        state=state,
        on_progress=lambda words: notes.print(f"[dim]{quote(words)}[/]"),
    )
    if as_json:
        typer.echo(json.dumps(result.to_json()))
        return
    from triage.settings._diff import EnvironmentDiff

    _print_diff(EnvironmentDiff(differences=result.culprits), every=True)
    kind = "Together they make" if len(result.culprits) > 1 else "It makes"
    least = "; without any one of them it passes" if len(result.culprits) > 1 else ""
    open_console(stderr=False).print(f"{kind} the command fail{least}. {result.runs} runs.")


_LIKELY = 40


def _print_capture(captured: EnvironmentCapture, out: Path | None) -> None:
    console, notes = open_console(stderr=False), open_console(stderr=True)
    versions = ", ".join(f"{name} {version}" for name, version in captured.versions.items() if version)
    console.print(quote(versions))
    for group, names in captured.variable_groups.items():
        shown = ", ".join(names[:6]) + (" …" if len(names) > 6 else "")
        console.print(f"{len(names):>4} variables of {group}: {quote(shown)}")
    console.print(f"{len(captured.vllm_variables):>4} variables that vLLM knows")
    console.print(f"{len(captured.packages):>4} packages, {len(captured.libraries)} mapped libraries")
    for gpu in captured.gpu.gpus:
        console.print(f"     {quote(gpu.name or 'GPU')} {gpu.arch or ''}")
    for part in captured.not_collected:
        notes.print(f"[yellow]not collected[/] {quote(part.what)}: {quote(part.why)}")
    notes.print(
        f"[dim]{captured.duration_s:.1f} s"
        + (f"; written to {quote(str(out))}" if out else "; --out FILE keeps it")
        + "[/]"
    )


def _print_diff(found: EnvironmentDiff, *, every: bool) -> None:
    from rich.table import Table

    from triage.settings._issue import clean_value

    shown = [d for d in found.differences if every or d.weight >= _LIKELY]
    console = open_console(stderr=False)
    table = Table("where", "name", "", "first", "second", "why", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for d in shown:
        sides = (d.before if d.change != "added" else "", d.after if d.change != "removed" else "")
        cells = (d.section, clean_value(d.name), d.change.value, *map(clean_value, sides), d.why)
        table.add_row(*map(quote, cells))
    if shown:
        console.print(table)
    rest = len(found.differences) - len(shown)
    told = f"{len(found.differences)} difference{'s' * (len(found.differences) != 1)}" + (
        f", {rest} of them not known to matter: --all" if rest else ""
    )
    console.print(told if found.differences else "The two captures do not differ.")
    for text in found.not_compared:
        open_console(stderr=True).print(f"[yellow]not compared[/] {quote(clean_value(text))}")
