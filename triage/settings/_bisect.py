"""Two captures and a command: which of their differences make it fail. Resumable; flaky outcomes are repeated."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from triage.engine.history import fetch_package
from triage.engine.versions import list_packages
from triage.errors import InputError
from triage.files import write_atomic
from triage.processes import start_guarded
from triage.redaction import NOT_RECORDED, unfold_paths
from triage.settings._diff import Change, Difference, compare_captures, list_arguments
from triage.settings._minimise import minimise
from triage.settings._record import EnvironmentCapture

ARGUMENTS_MARK = "{arguments}"
_SCHEMA_VERSION = 1
_SECTIONS = ("arguments", "variables", "packages")
_OF_ITS_BOX = frozenset({"PATH", "HOME", "SHELL", "USER", "LOGNAME", "HOSTNAME", "VIRTUAL_ENV", "CONDA_PREFIX"})
_BUILT = ("torch", "vllm", "nvidia-", "triton", "pytorch-triton", "amdsmi", "triage")


class Outcome(StrEnum):
    """How one run ended."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed out"  # neither: whoever bisects a hang wraps the command in `triage watch`


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One set of differences that was tried, with the outcome of each run."""

    names: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def fails(self) -> bool:
        """A failure in any run is a failure: a flaky one passes now and then."""
        return Outcome.FAILED in self.outcomes


@dataclass(frozen=True, kw_only=True)
class BisectPlan:
    """What is bisected: the differences that can be switched one by one, and those that cannot, with the reason."""

    good: EnvironmentCapture
    bad: EnvironmentCapture
    changes: tuple[Difference, ...]
    fixed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BisectResult:
    """The smallest set of differences that makes the command fail. ``rate`` is how often it failed with all of them."""

    culprits: tuple[Difference, ...]
    is_minimal: bool
    trials: tuple[Trial, ...]
    runs: int
    rate: float
    fixed: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The answer of ``triage env bisect --json``."""
        return {
            "culprits": [
                {"section": d.section, "name": d.name, "good": d.before, "bad": d.after} for d in self.culprits
            ],
            "minimal": self.is_minimal,
            "runs": self.runs,
            "failure_rate": self.rate,
            "trials": [{"names": list(t.names), "outcomes": [o.value for o in t.outcomes]} for t in self.trials],
            "not_switched": list(self.fixed),
        }


def plan_bisect(good: EnvironmentCapture, bad: EnvironmentCapture) -> BisectPlan:
    """The differences from a capture where a command passes to one where it fails, most telling first.

    Variables, arguments and package versions can be switched here; GPUs, drivers, libraries and the machine cannot and
    are named. Neither can a value that was not recorded. Raises `InputError` where nothing can be switched.
    """
    changes, fixed = [], []
    for difference in compare_captures(good, bad).differences:
        why_not = _why_not(difference)
        if why_not is None:
            changes.append(difference)
        else:
            fixed.append(f"{difference.section} {difference.name}{why_not}")
    if not changes:
        raise InputError(
            "The two captures differ in nothing that can be switched here.",
            hint="Look at `triage env diff A B --all`; hardware and drivers need another machine.",
        )
    return BisectPlan(good=good, bad=bad, changes=tuple(changes), fixed=tuple(fixed))


def _why_not(difference: Difference) -> str | None:
    """Why a difference cannot be switched here; "" where that is plain from its section."""
    if difference.section not in _SECTIONS:
        return ""
    if any(mark in f"{difference.before}{difference.after}" for mark in (NOT_RECORDED, "(host)", "(mail)")):
        return " (its value was not recorded)"
    if difference.section == "variables" and difference.name in _OF_ITS_BOX:
        return " (it names places of its box)"
    if difference.section == "packages":
        if difference.change is not Change.CHANGED:
            return " (only on one side)"
        if difference.name.startswith(_BUILT):
            return " (it is built for its box)"
    return None


def bisect_environment(
    plan: BisectPlan,
    command: Sequence[str],
    *,
    runs: int = 1,
    timeout_s: float = 3600.0,
    state: Path | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> BisectResult:
    """Runs a command under chosen differences until the smallest set that makes it fail is known.

    Each try starts from the good capture's variables, arguments and package versions, and takes over a part of the bad
    one's. A try is ``runs`` runs, ended at the first failure. The command sees the arguments in place of
    ``{arguments}``, else at its end; packages are put first on ``PYTHONPATH``, fetched once. Everything else is as
    it is here. ``state`` keeps every outcome: the same call again goes on where it was stopped.

    Raises `InputError` where the command fails with the good capture or never fails with the bad one.
    """
    if not command:
        raise InputError("There is no command to run.", hint="Give it after two dashes: triage env bisect A B -- CMD …")
    if runs < 1:
        raise InputError(f"{runs} runs decide nothing.", hint="Use 1, or more for a flaky outcome.")
    log = _Log(state, key=_make_key(plan, command, runs), on_progress=on_progress)
    try_places = partial(_try_places, plan, tuple(command), runs=runs, timeout_s=timeout_s, log=log)
    if try_places(()).fails:
        raise InputError(
            "The command fails with the first capture, too: there is nothing to bisect.",
            hint="Name the capture where it passes first, or mend the command.",
        )
    whole = try_places(tuple(range(len(plan.changes))), all_runs=True)
    if not whole.fails:
        raise InputError(
            f"The command did not fail in {len(whole.outcomes)} runs with everything of the second capture that can be "
            "switched.",
            hint="Raise --runs for a flaky failure; what is not switched is named by `triage env diff`.",
        )
    found = minimise(len(plan.changes), lambda places: try_places(places).fails)
    failed = sum(outcome is Outcome.FAILED for outcome in whole.outcomes)
    return BisectResult(
        culprits=tuple(plan.changes[place] for place in found.places),
        is_minimal=found.is_minimal,
        trials=tuple(log.trials.values()),
        runs=sum(len(trial.outcomes) for trial in log.trials.values()),
        rate=failed / len(whole.outcomes),
        fixed=plan.fixed,
    )


class _Log:
    """The trials so far, kept in a file that is whole at every moment."""

    def __init__(self, path: Path | None, *, key: str, on_progress: Callable[[str], None]) -> None:
        self._path = path
        self._key = key
        self.say = on_progress
        self.trials: dict[str, Trial] = {}
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        hint = "Name another file with --state, or remove it."
        try:
            held = json.loads(path.read_bytes())
            trials = {
                name: Trial(names=tuple(row["names"]), outcomes=tuple(map(Outcome, row["outcomes"])))
                for name, row in held["trials"].items()
            }
            same = (held["schema_version"], held["key"]) == (_SCHEMA_VERSION, self._key)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} is no state of a bisection.", hint=hint) from error
        if not same:
            raise InputError(f"{path} belongs to other captures, another command or other --runs.", hint=hint)
        self.trials = trials
        self.say(f"going on from {path}: {len(trials)} tries are known")

    def keep(self, name: str, trial: Trial) -> None:
        self.trials[name] = trial
        if self._path is not None:
            rows = {
                known: {"names": list(t.names), "outcomes": [o.value for o in t.outcomes]}
                for known, t in self.trials.items()
            }
            held = {"schema_version": _SCHEMA_VERSION, "key": self._key, "trials": rows}
            write_atomic(self._path, json.dumps(held, indent=1))


def _make_key(plan: BisectPlan, command: Sequence[str], runs: int) -> str:
    parts = [[d.section, d.name, d.before, d.after] for d in plan.changes]
    return hashlib.sha256(json.dumps([parts, list(command), runs]).encode()).hexdigest()


def _try_places(
    plan: BisectPlan,
    command: tuple[str, ...],
    places: tuple[int, ...],
    *,
    runs: int,
    timeout_s: float,
    log: _Log,
    all_runs: bool = False,
) -> Trial:
    name = ",".join(map(str, places)) or "none"
    if name in log.trials:
        return log.trials[name]
    words, env = prepare_run(plan, command, places)
    outcomes: list[Outcome] = []
    began = time.monotonic()
    while len(outcomes) < runs and (all_runs or Outcome.FAILED not in outcomes):
        outcomes.append(_run_once(words, env, timeout_s))
    trial = Trial(names=tuple(plan.changes[place].name for place in places), outcomes=tuple(outcomes))
    log.keep(name, trial)
    told = Outcome.FAILED if trial.fails else outcomes[-1]
    tried = f"{len(places)} of {len(plan.changes)} differences"
    log.say(f"try {len(log.trials)}: {tried}: {told.value} ({len(outcomes)} runs, {time.monotonic() - began:.1f} s)")
    return trial


def _run_once(words: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Outcome:
    with start_guarded(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            code = process.wait(timeout_s=timeout_s)
        except TimeoutError:
            return Outcome.TIMED_OUT
    if code in {126, 127}:
        raise InputError(f"{words[0]!r} cannot be run here (exit code {code}).", hint="Check the command's path.")
    return Outcome.PASSED if code == 0 else Outcome.FAILED


def prepare_run(
    plan: BisectPlan, command: Sequence[str], places: Sequence[int]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command and its whole environment, with the named differences taken over from the bad capture."""
    chosen = set(places)
    env = dict(os.environ)
    arguments: dict[str, Any] = {d.name: d.before for d in plan.changes if d.section == "arguments"}
    folders: list[Path] = []
    for place, difference in enumerate(plan.changes):
        taken = difference.after if place in chosen else difference.before
        absent = difference.change is (Change.REMOVED if place in chosen else Change.ADDED)
        match difference.section:
            case "variables":
                env.pop(difference.name, None)
                if not absent:
                    env[difference.name] = unfold_paths(str(taken))
            case "arguments":
                arguments.pop(difference.name, None)
                if not absent:
                    arguments[difference.name] = taken
            case "packages" if list_packages().get(difference.name) != taken:
                folders.append(fetch_package(difference.name, str(taken)))
    if folders:
        env["PYTHONPATH"] = os.pathsep.join([*map(str, folders), *filter(None, [env.get("PYTHONPATH")])])
    return _place_arguments(plan, command, arguments), env


def _place_arguments(plan: BisectPlan, command: Sequence[str], changed: Mapping[str, Any]) -> tuple[str, ...]:
    every = {name for d in plan.changes if d.section == "arguments" for name in (d.name,)}
    shared = {name: value for name, value in list_arguments(plan.good.arguments) if name not in every}
    words: list[str] = []
    for name, value in {**shared, **changed}.items():
        words += [word for word in (name, str(value)) if word]
    if ARGUMENTS_MARK in command:
        place = list(command).index(ARGUMENTS_MARK)
        return (*command[:place], *words, *command[place + 1 :])
    return (*command, *words)
