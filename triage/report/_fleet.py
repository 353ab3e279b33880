"""Cases on the nodes of a Slurm cluster: a job for each, its report in the shared folder, one index over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from triage.cases import Case
from triage.files import make_folder, write_atomic
from triage.fleet import Fleet, SlurmOptions, Task, is_job_ending
from triage.report._campaign import Plan
from triage.report._index import Index
from triage.report._observer import Observer
from triage.report._reproduce import RESULT, open_case, plan_opening, reproduce_case
from triage.report._resume import find_result
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
    expect: Verdict | None = None,
    observer: Observer | None = None,
    settle_s: float = 5.0,
) -> tuple[Result, ...]:
    """As `reproduce_cases`, each case as a job; ``out`` must be a folder that the nodes share.

    A lost job is submitted again, three times at most; a case whose jobs were all lost is ``INFRA``. ``resume`` goes on
    where an earlier driver ended: conclusive results are kept, and jobs that still run are waited for.

    Raises what `triage.fleet.Fleet.run` raises; the index then holds what has ended.
    """
    gathered = _Gathered(plans, make_folder(out).absolute(), resume=resume, expect=expect, observer=observer)
    options = replace(options, time_limit_s=min(options.time_limit_s, timeout_s + _SPARE_S))
    fleet = Fleet(gathered.folder, options, settle_s=settle_s)
    tasks = [gathered.describe(plan, timeout_s) for plan in gathered.waiting]
    gathered.gather()
    while remaining := [task for task in tasks if not gathered.is_done(task)]:
        fleet.run(
            reproduce_task,
            remaining,
            is_done=gathered.is_done,
            on_change=gathered.gather,
            on_lost=gathered.note_lost,
        )
    gathered.gather()
    return tuple(gathered.results.values())


class _Gathered:
    """The results of jobs as they come, and the index over them."""

    def __init__(
        self, plans: Sequence[Plan], out: Path, *, resume: bool, expect: Verdict | None, observer: Observer | None
    ) -> None:
        self.out, self.folder = out, make_folder(out / _JOBS)
        self._observer = observer or Observer()
        self._index = Index.open(out, expect=expect)
        self._lost: Counter[str] = Counter()
        self.results: dict[str, Result] = {}
        self.waiting: list[Plan] = []
        for plan in plans:
            opened = plan_opening(plan.case, out, parameters=plan.parameters, catalogue=plan.catalogue)
            folder = out / plan.case.id
            kept = find_result(opened, folder, case=plan.case, notebook=plan.notebook) if resume else None
            self.results[plan.case.id] = kept or opened
            if kept is not None:
                self._observer.ends(kept)
                continue
            self.waiting.append(plan)
            if not resume:  # of a job that may still run the report is its own
                self._find_done(plan.case.id).unlink(missing_ok=True)
                open_case(plan.case, out, notebook=plan.notebook, parameters=plan.parameters, catalogue=plan.catalogue)
        self._open = {plan.case.id for plan in self.waiting}

    def _find_done(self, case: str) -> Path:
        """Where a job leaves its result when its report is whole."""
        return self.folder / f"{case}.result.json"

    def is_done(self, task: Task) -> bool:
        """Whether a job has left its result."""
        return self._find_done(task.name).exists()

    def describe(self, plan: Plan, timeout_s: float) -> Task:
        """The job of a case."""
        argument = {
            "case": plan.case.model_dump(mode="json"),
            "notebook": str(plan.notebook.absolute()),
            "parameters": dict(plan.parameters),
            "catalogue": None if plan.catalogue is None else str(plan.catalogue.absolute()),
            "out": str(self.out),
            "done": str(self._find_done(plan.case.id)),
            "timeout_s": timeout_s,
        }
        return Task(name=plan.case.id, argument=argument)

    def gather(self) -> None:
        """Reads what has come, and writes the index."""
        for case in sorted(self._open):
            if (done := self._find_done(case)).exists():
                self._open.discard(case)
                self.results[case] = read_result(done)
                self._observer.ends(self.results[case])
        self._index.write(list(self.results.values()))

    def note_lost(self, task: Task, _node: str) -> None:
        """A job is gone without a result; after too many of them the case is given up."""
        self._lost[task.name] += 1
        if self._lost[task.name] == _TRIES:
            cause = f"The job of this case was lost with its node {_TRIES} times."
            given_up = self.results[task.name].model_copy(update={"verdict": Verdict.INFRA, "cause": cause})
            write_atomic(self.out / task.name / RESULT, given_up.to_json())
            write_atomic(self._find_done(task.name), given_up.to_json())


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
