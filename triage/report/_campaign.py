"""Several cases, one after the other or side by side, and the index over them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from triage.cases import Case, find_notebook
from triage.errors import InputError, ParameterError, TriageError, UnknownCaseError
from triage.files import make_folder
from triage.report._devices import NO_DEVICE, Gpu, GpuPool
from triage.report._index import Index
from triage.report._observer import Observer
from triage.report._reproduce import check_case, open_case, plan_opening, reproduce_case
from triage.report._resume import find_result
from triage.result import Result, Verdict

_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One case that is ready to run: its notebook found, its parameters checked; ``catalogue`` if it is private."""

    case: Case
    notebook: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)
    catalogue: Path | None = None


def plan_cases(
    cases: Sequence[Case], *, ids: Sequence[str] = (), texts: Sequence[str] = (), folder: Path | None = None
) -> tuple[Plan, ...]:
    """The cases to run, all of them where no id is given. ``texts`` are ``NAME=VALUE`` and hold for each.

    Notebooks are looked up in ``folder`` (a private catalogue) first. Raises one `UnknownCaseError`, or one
    `ParameterError` with the problems of every case, before anything runs.
    """
    chosen = select_cases(cases, ids)
    plans, problems, hints = [], [], []
    for case in chosen:
        notebook = _find_notebook(case, folder)
        try:
            checked = check_case(case, notebook=notebook, texts=texts)
            plans.append(Plan(case=case, notebook=notebook, parameters=checked, catalogue=folder))
        except ParameterError as error:
            problems.append(error.message)
            hints.append(f"{case.notebook}: {error.hint}" if len(chosen) > 1 else error.hint)
    if problems:
        raise ParameterError("\n".join(problems), hint=" ".join(dict.fromkeys(hints)))
    return tuple(plans)


def _find_notebook(case: Case, folder: Path | None) -> Path:
    if folder is None:
        return find_notebook(case.notebook)
    beside = folder / case.notebook
    try:
        return beside if beside.is_file() else find_notebook(case.notebook)
    except InputError:
        raise InputError(
            f"The case {case.id} names the notebook {case.notebook}, which is neither in {folder} nor among triage's.",
            hint="Put it beside the case file, or name one of triage's notebooks.",
        ) from None


def select_cases(cases: Sequence[Case], ids: Sequence[str]) -> tuple[Case, ...]:
    """The cases of these ids in the given order, each once; all where no id is given.

    Raises one `UnknownCaseError` that names every unknown id.
    """
    known = {case.id: case for case in cases}
    if not known:
        raise InputError("The catalogue holds no case.", hint="Name a folder of case files: --catalogue DIR.")
    if unknown := [i for i in dict.fromkeys(ids) if i not in known]:
        near = {n: None for i in unknown for n in get_close_matches(i, known, n=1)}
        guess = f"Did you mean {', '.join(near)}? " if near else ""
        names = ", ".join(map(repr, unknown))
        raise UnknownCaseError(f"No case is called {names}.", hint=f"{guess}`triage cases` lists all.")
    return tuple(known[i] for i in dict.fromkeys(ids)) if ids else tuple(cases)


def reproduce_cases(
    plans: Sequence[Plan],
    out: Path,
    *,
    jobs: int = 1,
    gpus: Sequence[Gpu] = (),
    timeout_s: float | None = None,
    stop: threading.Event | None = None,
    resume: bool = False,
    expect: Verdict | None = None,
    observer: Observer | None = None,
) -> tuple[Result, ...]:
    """Runs the planned cases, ``jobs`` at a time and each on a GPU of its own where there are ``gpus``.

    ``out/index.{html,json,junit.xml}`` are kept up to date. Result, page and index say INCOMPLETE of a case until it
    has ended, whatever ends this process. Setting ``stop`` ends the running cases and leaves the others out: finished
    reports stay whole. With ``resume`` a conclusive result is kept that an earlier run left of the same notebook,
    parameters and versions. ``expect`` is what the index calls a success.

    Raises `InputError` or `StorageError` where ``out`` cannot be written; what runs is then ended first.
    """
    make_folder(out)
    stop, observer = stop or threading.Event(), observer or Observer()
    index = Index.open(out, expect=expect)
    opened = {p.case.id: plan_opening(p.case, out, parameters=p.parameters, catalogue=p.catalogue) for p in plans}
    kept = _find_results(plans, opened, out) if resume else {}
    results = opened | kept
    index.write(list(results.values()))
    waiting = [plan for plan in plans if plan.case.id not in kept]
    for plan in waiting:  # a kill must not leave the verdict of an earlier run to a case that never began
        open_case(plan.case, out, notebook=plan.notebook, parameters=plan.parameters, catalogue=plan.catalogue)
    for result in kept.values():
        observer.ends(result)
    if jobs > 1:
        waiting.sort(key=lambda plan: -_guess_length(index.earlier.get(plan.case.id)))
    pool = GpuPool(gpus)
    run = partial(_run_plan, out=out, pool=pool, timeout_s=timeout_s, stop=stop, observer=observer)

    problem: TriageError | None = None
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="case") as threads:
        pending: set[Future[Result]] = {threads.submit(run, plan) for plan in waiting}
        try:
            while pending:
                # Waking up now and then lets the main thread run its signal handlers.
                ended, pending = wait(pending, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    try:
                        result = future.result()
                        results[result.case] = result
                        index.write(list(results.values()))
                        observer.ends(result)
                    except TriageError as error:
                        problem = problem or error
                        stop.set()
        except BaseException:
            stop.set()
            raise
    if problem:
        raise problem
    return tuple(results.values())


def _run_plan(
    plan: Plan, *, out: Path, pool: GpuPool, timeout_s: float | None, stop: threading.Event, observer: Observer
) -> Result:
    """One case, once there is a GPU for it."""
    with pool.lend(stop, on_wait=partial(observer.waits, plan.case)) as device:
        if device is not None:
            observer.begins(plan.case)
        return reproduce_case(
            plan.case,
            out,
            notebook=plan.notebook,
            parameters=plan.parameters,
            catalogue=plan.catalogue,
            timeout_s=timeout_s,
            stop=stop,
            device=device or NO_DEVICE,  # none was free until the run was stopped
            on_cell=partial(observer.proceeds, plan.case),
        )


def _guess_length(earlier: Result | None) -> float:
    """How long a case will take, as it took before: the longest goes first, or it runs alone at the end."""
    if earlier is None or earlier.duration_s is None or not earlier.verdict.conclusive:
        return float("inf")
    return earlier.duration_s


def _find_results(plans: Sequence[Plan], opened: Mapping[str, Result], out: Path) -> dict[str, Result]:
    found = {
        p.case.id: find_result(opened[p.case.id], out / p.case.id, case=p.case, notebook=p.notebook) for p in plans
    }
    return {case: result for case, result in found.items() if result is not None}
