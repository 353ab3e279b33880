"""A whole verification: arms, runs, receipt, and nothing left behind but the folder of results."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triage.errors import InputError
from triage.files import make_folder, write_atomic
from triage.result import Family
from triage.verify._arms import Change, Setup, prepare_arms
from triage.verify._attempt import Attempt
from triage.verify._campaign import (
    ATTEMPTS,
    CAMPAIGN,
    Campaign,
    LocalRunner,
    Runner,
    now_utc,
    read_campaign,
    run_campaign,
)
from triage.verify._design import Design
from triage.verify._plot import plot_receipt
from triage.verify._receipt import build_receipt, format_receipt
from triage.verify._run import Limits
from triage.verify._tables import render_markdown

RECEIPT, MARKDOWN, PICTURE, WORK = "receipt.json", "receipt.md", "rates.png", "work"

Progress = Callable[[Sequence[Attempt], int], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be verified: the command of both arms, the change, and which failure it is to mend.

    ``folder`` is where the command runs, or the same place of a copy where it lies in a git repository. ``packages``
    is a folder of importable packages, or one package, onto which a patch goes instead. ``env`` are variables of both
    arms. ``target`` is the signature of the failure, ``family`` its family; without them the base says which it is.
    """

    command: Sequence[str]
    change: Change
    folder: Path = Path()
    packages: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    family: Family | None = None
    case: str | None = None
    revert: bool = False


def verify_fix(
    plan: Plan,
    out: Path,
    *,
    design: Design | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    runner: Runner | None = None,
    place: Mapping[str, Any] | None = None,
    keep: bool = False,
    on_begin: Callable[[Setup], None] = lambda _setup: None,
    on_progress: Progress = lambda _attempts, _planned: None,
) -> dict[str, Any]:
    """Runs both arms as the design asks for, and writes ``out/{receipt.json, receipt.md, rates.png}``.

    Returns the receipt. The logs of all runs stay in ``out/attempts``; the copies go unless ``keep``. Raises
    `InputError` for input that cannot be run (nothing is left then), and `StoppedError` where a signal stops it: what
    has been run stays, for `resume_verification`.
    """
    make_folder(out)
    if (out / CAMPAIGN).exists() or (out / RECEIPT).exists():
        raise InputError(f"{out} holds a verification already.", hint=f"Name another folder, or go on: --resume {out}")
    work = out / WORK
    try:
        setup = prepare_arms(
            plan.command,
            folder=plan.folder,
            work=work,
            change=plan.change,
            packages=plan.packages,
            env=plan.env,
            revert=plan.revert,
        )
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    on_begin(setup)
    campaign = Campaign(
        setup=setup,
        design=design or Design(),
        limits=limits or Limits(),
        seed=seed,
        target=plan.target,
        family=plan.family,
        case=plan.case,
        place=place or {"kind": "local"},
        started=now_utc(),
    )
    campaign.write(out)
    return _run(campaign, out, runner or LocalRunner(out), keep=keep, on_progress=on_progress)


def resume_verification(
    out: Path,
    *,
    runner: Runner | None = None,
    keep: bool = False,
    on_progress: Progress = lambda _attempts, _planned: None,
) -> dict[str, Any]:
    """Goes on with a verification whose driver has died or was stopped; runs that have ended are not run again.

    Raises `InputError` where the folder holds none, or its copies are gone.
    """
    campaign = read_campaign(out)
    if lost := [arm.folder for arm in campaign.setup.arms.values() if not arm.folder.is_dir()]:
        raise InputError(f"{lost[0]} is gone, so the runs cannot go on.", hint="Verify anew, in another folder.")
    return _run(campaign, out, runner or LocalRunner(out), keep=keep, on_progress=on_progress)


def _run(campaign: Campaign, out: Path, runner: Runner, *, keep: bool, on_progress: Progress) -> dict[str, Any]:
    try:
        attempts = run_campaign(campaign, out, runner, on_progress=on_progress)
    except InputError:  # the arms say nothing: there is no result to keep
        for name in (WORK, ATTEMPTS, "results"):
            shutil.rmtree(out / name, ignore_errors=True)
        (out / CAMPAIGN).unlink(missing_ok=True)
        raise
    receipt = build_receipt(campaign, attempts, ended=now_utc())
    write_receipt(receipt, out)
    if not keep:
        shutil.rmtree(out / WORK, ignore_errors=True)
    return receipt


def write_receipt(receipt: Mapping[str, Any], out: Path) -> None:
    """Writes a receipt as JSON, as Markdown for a pull request, and as a picture. Raises `StorageError`."""
    write_atomic(out / RECEIPT, format_receipt(receipt))
    write_atomic(out / MARKDOWN, render_markdown(receipt))
    picture = io.BytesIO()
    plot_receipt(receipt).savefig(picture, format="png", dpi=120)
    write_atomic(out / PICTURE, picture.getvalue())
