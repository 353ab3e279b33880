"""`triage verify`."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triage.cli._console import AsJson, Catalogue, open_console, quote, read_catalogue
from triage.cli._slurm import Exclude, Gpus, Nodes, Parallel, Partition, Place, read_slurm
from triage.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from triage.fleet import SlurmOptions
    from triage.verify import Attempt, Change, Design, Limits, Plan, Setup

_COLOURS = {"VERIFIED": "green", "NOT_VERIFIED": "red"}


def verify(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CASE] [-- CMD...]", help="A known case, or a command after two dashes.", show_default=False
        ),
    ] = None,
    *,
    patch: Annotated[
        Path | None, typer.Option("--patch", metavar="FILE", help="The fix, as git diff writes it; goes onto a copy.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="REV", help="The fix as a revision of the repository.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="A variable of the after arm; repeat.")
    ] = None,
    args: Annotated[
        str | None, typer.Option("--args", metavar="WORDS", help="Further arguments of the after arm's command.")
    ] = None,
    after_command: Annotated[
        str | None, typer.Option("--after-command", metavar="CMD", help="Another command for the after arm.")
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(
            "--package", metavar="NAME[==V]", help="Patch an overlay of this installed package, or of vLLM V."
        ),
    ] = None,
    runs: Annotated[
        int | None, typer.Option("--runs", metavar="N", help="Runs of each arm; without it the measured rate decides.")
    ] = None,
    max_runs: Annotated[int, typer.Option("--max-runs", metavar="N", help="At most so many runs of each arm.")] = 200,
    sequential: Annotated[
        bool, typer.Option("--sprt", help="Stop by Wald's sequential probability ratio test.")
    ] = False,
    confidence: Annotated[float, typer.Option("--confidence", metavar="P", help="Of tests and bounds.")] = 0.95,
    signature: Annotated[
        str | None,
        typer.Option("--signature", metavar="S", help="The failure to mend, as triage log names it; hang for a hang."),
    ] = None,
    revert: Annotated[
        bool, typer.Option("--revert", help="Then take the fix out, and see the failure come back.")
    ] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", metavar="S", help="The time limit of one run, in seconds.")
    ] = 1800.0,
    stall_s: Annotated[
        float, typer.Option("--stall-s", metavar="S", help="Seconds without any sign of life that make a hang.")
    ] = 300.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Decides which arm of a pair runs first.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where receipt and logs go; must be shared for Slurm.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the copies of both arms.")] = False,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with a verification that was stopped.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="RECEIPT", help="Compute every figure of a receipt anew.")
    ] = None,
    power: Annotated[
        bool, typer.Option("--power", help="Only say what such a design would find, for old rates from 1 to 50 %.")
    ] = False,
    on: Annotated[Place, typer.Option("--on", help="Where the runs are made.")] = Place.LOCAL,
    partition: Partition = None,
    nodes: Nodes = None,
    exclude: Exclude = None,
    gpus: Gpus = None,
    parallel: Parallel = 8,
    catalogue: Catalogue = None,
    as_json: AsJson = False,
) -> int:
    """Run a command before and after a fix, in turn, and say with honest statistics whether the fix works.

    CMD runs at the same place in two copies of the current repository's HEAD; the working tree is never touched. Each
    run is a fresh process under the watchdog, retries off; exit 125 means "cannot tell". Writes receipt.json,
    receipt.md and rates.png. Exits 0 VERIFIED, 1 NOT_VERIFIED, 3 INSUFFICIENT or NEVER_FAILED, 2 for bad input.
    """
    if check is not None:
        return _check(check, as_json=as_json)
    from triage.verify import Change, Design, FixVerdict, Limits, Rule, limit_job

    console = open_console(stderr=True)
    rule = Rule.SPRT if sequential else Rule.FIXED if runs is not None else Rule.MEASURED
    design = Design(
        rule=rule, runs=runs if runs is not None else 20, most=max(max_runs, runs or 0), confidence=confidence
    )
    if power:
        return _tell_power(design, as_json=as_json)
    limits = Limits(timeout_s=_check_positive("--timeout-s", timeout_s), stall_s=_check_positive("--stall-s", stall_s))
    if resume is not None:
        receipt = _resume(resume, console, keep=keep)
    else:
        case, command = split_words(words or [], {one.id for one in read_catalogue(catalogue)})
        folder = (out or _choose_folder()).resolve()
        plan = _make_plan(
            case,
            command,
            Change(
                patch=patch,
                revision=revision,
                env=_read_variables(env or []),
                arguments=shlex.split(args or ""),
                command=shlex.split(after_command or ""),
            ),
            package=package,
            target=signature,
            revert=revert,
            folder=folder,
        )
        slurm = read_slurm(
            on,
            partition=partition,
            nodes=nodes,
            exclude=exclude,
            gpus=gpus,
            parallel=parallel,
            time_limit_s=limit_job(timeout_s),
        )
        receipt = _verify(plan, folder, console, design=design, limits=limits, seed=seed, slurm=slurm, keep=keep)
    if as_json:
        typer.echo(json.dumps(receipt, ensure_ascii=False))
    else:
        _print_receipt(receipt, resume or folder)
    return FixVerdict(receipt["verdict"]).exit_code


def split_words(words: Sequence[str], cases: Collection[str]) -> tuple[str | None, list[str]]:
    """The case, if the first word names one, and the command.

    >>> split_words(["e5-token-count", "pytest", "-q"], {"e5-token-count"}), split_words(["true"], {"e5-token-count"})
    (('e5-token-count', ['pytest', '-q']), (None, ['true']))
    """
    if words and words[0] in cases:
        return words[0], list(words[1:])
    if len(words) == 1 and shutil.which(words[0]) is None and get_close_matches(words[0], cases, n=1):
        from triage.cases import read_case

        read_case(words[0])  # says which case may be meant
    return None, list(words)


def _make_plan(
    case_id: str | None,
    command: Sequence[str],
    change: Change,
    *,
    package: str | None,
    target: str | None,
    revert: bool,
    folder: Path,
) -> Plan:
    from triage.verify import Plan, plan_case

    plan = Plan(
        command=command,
        change=change,
        folder=Path.cwd(),
        packages=_find_packages(package) if package else None,
        target=target,
        revert=revert,
    )
    if case_id is None:
        return plan
    from triage.cases import read_case

    return plan_case(read_case(case_id), plan, folder=folder)


def _find_packages(text: str) -> Path:
    """An installed package, or the folder of a historical vLLM."""
    from triage.verify import find_package

    name, _, version = text.partition("==")
    if not version:
        return find_package(name)
    if name not in {"vllm", "transformers"}:
        raise InputError(f"There are historical versions of vllm and transformers, not of {name}.", hint="Name one.")
    from triage.engine.history import find_versions

    return find_versions(**{name: version}).folders[0]


def _read_variables(pairs: Sequence[str]) -> dict[str, str]:
    if wrong := [pair for pair in pairs if "=" not in pair or pair.startswith("=")]:
        raise InputError(f"--env {wrong[0]} is no NAME=VALUE.", hint="Write --env NAME=VALUE.")
    return dict(pair.partition("=")[::2] for pair in pairs)


def _check_positive(name: str, seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise InputError(f"{name} is {seconds:g}.", hint="Give a number of seconds above zero.")
    return seconds


def _choose_folder() -> Path:
    """A folder outside every checkout, which an untracked file would change."""
    import platformdirs

    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    return platformdirs.user_state_path("triage") / "verify" / name


def _verify(
    plan: Plan,
    folder: Path,
    console: Console,
    *,
    design: Design,
    limits: Limits,
    seed: int,
    slurm: SlurmOptions | None,
    keep: bool,
) -> dict[str, Any]:
    from triage.verify import SlurmRunner, verify_fix

    def begin(setup: Setup) -> None:
        for note in setup.notes:
            console.print(f"[yellow]note[/] {quote(note)}")

    with _say_how_to_resume(folder), _show_progress(console) as progress:
        return verify_fix(
            plan,
            folder,
            design=design,
            limits=limits,
            seed=seed,
            runner=SlurmRunner(folder, slurm) if slurm else None,
            place={"kind": "slurm", **slurm.to_json()} if slurm else None,
            keep=keep,
            on_begin=begin,
            on_progress=progress,
        )


def _resume(folder: Path, console: Console, *, keep: bool) -> dict[str, Any]:
    """Goes on where the runs were: here, or on Slurm."""
    from triage.fleet import SlurmOptions
    from triage.verify import SlurmRunner, read_campaign, resume_verification

    place = dict(read_campaign(folder).place)
    runner = SlurmRunner(folder, SlurmOptions.from_json(place)) if place.pop("kind") == "slurm" else None
    with _say_how_to_resume(folder), _show_progress(console) as progress:
        return resume_verification(folder, runner=runner, keep=keep, on_progress=progress)


@contextmanager
def _say_how_to_resume(folder: Path) -> Iterator[None]:
    """What has been run is not lost, whatever stops the driver."""
    from triage.fleet import CancelledError
    from triage.verify import StoppedError

    try:
        yield
    except (StoppedError, CancelledError, KeyboardInterrupt) as error:
        raise StoppedError(
            getattr(error, "message", "Stopped."), hint=f"Go on with it: triage verify --resume {folder}"
        ) from None


@contextmanager
def _show_progress(console: Console) -> Iterator[Callable[[Sequence[Attempt], int], None]]:
    """One line that is written over on a terminal; elsewhere one for every tenth of the runs."""
    from collections import Counter

    told = [0]
    with console.status("preparing the arms") as status:

        def show(attempts: Sequence[Attempt], pairs: int) -> None:
            ends = Counter((a.arm.value, a.end.value) for a in attempts)
            counts = ", ".join(f"{arm} {end.replace('_', ' ')} {n}" for (arm, end), n in sorted(ends.items()))
            line = f"{len(attempts)} of {2 * pairs} runs: {counts}"
            status.update(line)
            if not console.is_terminal and len(attempts) - told[0] >= max(1, pairs // 5):
                told[0] = len(attempts)
                console.print(f"[dim]{line}[/]")

        yield show


def _print_receipt(receipt: Mapping[str, Any], folder: Path) -> None:
    from rich.table import Table

    console = open_console(stderr=False)
    colour = _COLOURS.get(receipt["verdict"], "yellow")
    console.print(f"[{colour} bold]{receipt['verdict']}[/]")
    for sentence in receipt["explanation"]:
        console.print(quote(sentence))
    from triage.verify import tabulate_arms

    frame = tabulate_arms(receipt)
    table = Table("arm", *frame.columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for arm, row in frame.iterrows():
        table.add_row(str(arm), *map(str, row))
    console.print(table)
    console.print(f"p = {receipt['p_value']:.3g} ({receipt['statistics']['test']})")
    console.print(str(folder / "receipt.json"), soft_wrap=True)


def _tell_power(design: Design, *, as_json: bool) -> int:
    from triage.verify import tabulate_power

    frame = tabulate_power(design)
    if as_json:
        typer.echo(json.dumps({"design": design.to_json(), "rows": frame.to_dict(orient="records")}))
    else:
        typer.echo(frame.to_string(index=False))
    return 0


def _check(path: Path, *, as_json: bool) -> int:
    from triage.verify import check_receipt

    checked = check_receipt(path)
    if as_json:
        verdict = checked.receipt["verdict"]
        typer.echo(json.dumps({"ok": True, "verdict": verdict, "attempts": checked.attempts, "logs": checked.logs}))
    else:
        logs = f", and its {checked.logs} logs are the ones" if checked.logs else ""
        typer.echo(
            f"{path}: every figure follows from its {checked.attempts} attempts{logs}. {checked.receipt['verdict']}"
        )
    return 0
