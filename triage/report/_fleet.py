"""Cases on the nodes of a Slurm cluster: a job for each, its report in the shared folder, one index over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from triage.cases import Case
from triage.files import make_folder, write_atomic
from triage.fleet import Fleet, SlurmOptions, Task, is_job_ending
from triage.report._campaign import Plan, open_plan
from triage.report._index import write_index
from triage.report._reproduce import RESULT, reproduce_case
from triage.result import Result, Verdict, read_result

_JOBS = "jobs"
_TRIES = 4  # of a job that is lost with its node
_SPARE_S = 300.0  # for a node that is slow to begin, and for the report


def reproduce_on_slurm(
    plans: Sequence[Plan],
    out: Path,
    *,
    options: SlurmOptions,
    timeout_s: float,
    resume: bool = False,
    settle_s: float = 5.0,
    on_end: Callable[[Result], None] = lambda _: None,
) -> tuple[Result, ...]:
    """As `reproduce_cases`, each case as a job; ``out`` must be a folder that the nodes share.

    A lost job is submitted again, three times at most; a case whose jobs were all lost is ``INFRA``. ``resume`` goes on
    where an earlier driver ended: cases that have ended are not run again, jobs that still run are waited for.

    Raises what `triage.fleet.Fleet.run` raises; the index then holds what has ended.
    """
    out = make_folder(out).absolute()
    folder = make_folder(out / _JOBS)
    now = datetime.now(UTC)
    results = {plan.case.id: open_plan(plan, out, now) for plan in plans}
    if not resume:
        for plan in plans:
            _find_done(folder, plan.case).unlink(missing_ok=True)
    options = replace(options, time_limit_s=min(options.time_limit_s, timeout_s + _SPARE_S))
    fleet = Fleet(folder, options, settle_s=settle_s)
    cases = {plan.case.id: plan.case for plan in plans}
    told: set[str] = set()
    lost: Counter[str] = Counter()

    def is_done(task: Task) -> bool:
        return _find_done(folder, cases[task.name]).exists()

    def gather() -> None:
        for case in cases.values():
            done = _find_done(folder, case)
            if case.id not in told and done.exists():
                told.add(case.id)
                results[case.id] = read_result(done)
                on_end(results[case.id])
        write_index(list(results.values()), out)

    def note_lost(task: Task, _node: str) -> None:
        lost[task.name] += 1
        if lost[task.name] == _TRIES:
            result = _give_up(results[task.name], lost[task.name])
            make_folder(out / task.name)
            write_atomic(out / task.name / RESULT, result.to_json())
            write_atomic(_find_done(folder, cases[task.name]), result.to_json())

    gather()
    tasks = [Task(name=plan.case.id, argument=_describe(plan, out, folder, timeout_s)) for plan in plans]
    while remaining := [task for task in tasks if not is_done(task)]:
        fleet.run(reproduce_task, remaining, is_done=is_done, on_change=gather, on_lost=note_lost)
    gather()
    return tuple(results.values())


def _find_done(folder: Path, case: Case) -> Path:
    """Where a job leaves its result when its report is whole."""
    return folder / f"{case.id}.result.json"


def _give_up(opened: Result, times: int) -> Result:
    cause = f"The job of this case was lost with its node {times} times."
    return opened.model_copy(update={"verdict": Verdict.INFRA, "cause": cause})


def _describe(plan: Plan, out: Path, folder: Path, timeout_s: float) -> dict[str, Any]:
    return {
        "case": plan.case.model_dump(mode="json"),
        "notebook": str(plan.notebook.absolute()),
        "parameters": dict(plan.parameters),
        "catalogue": None if plan.catalogue is None else str(plan.catalogue.absolute()),
        "out": str(out),
        "done": str(_find_done(folder, plan.case)),
        "timeout_s": timeout_s,
    }


def reproduce_task(argument: Mapping[str, Any]) -> None:
    """What a job does on its node: the case, its report, and last of all the sign that it is done."""
    catalogue = argument["catalogue"]
    result = reproduce_case(
        Case.model_validate(argument["case"]),
        Path(argument["out"]),
        notebook=Path(argument["notebook"]),
        parameters=argument["parameters"],
        catalogue=None if catalogue is None else Path(catalogue),
        timeout_s=argument["timeout_s"],
    )
    if not is_job_ending():  # else the run broke off because Slurm ended its kernel: it was lost
        write_atomic(Path(argument["done"]), result.to_json())
