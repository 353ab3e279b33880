"""Several cases, one after the other or side by side, and the index over them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from triage.cases import Case, find_notebook
from triage.errors import InputError, ParameterError, TriageError, UnknownCaseError
from triage.files import make_folder
from triage.report._again import name_command
from triage.report._index import write_index
from triage.report._reproduce import check_case, reproduce_case
from triage.report._settle import open_result
from triage.result import Result

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


def open_plan(plan: Plan, out: Path, now: datetime) -> Result:
    """What is said of a case until it has ended: INCOMPLETE, and how to run it again."""
    again = name_command(plan.case, parameters=plan.parameters, out=out, catalogue=plan.catalogue)
    return open_result(plan.case, parameters=plan.parameters, started=now, again=again)


def reproduce_cases(
    plans: Sequence[Plan],
    out: Path,
    *,
    jobs: int = 1,
    timeout_s: float | None = None,
    stop: threading.Event | None = None,
    on_begin: Callable[[Case], None] = lambda _: None,
    on_end: Callable[[Result], None] = lambda _: None,
) -> tuple[Result, ...]:
    """Runs the planned cases, ``jobs`` at a time, and keeps ``out/index.{html,json}`` up to date.

    The index says INCOMPLETE of a case until it has ended. Setting ``stop`` ends the running cases and leaves the
    others out: finished reports stay whole. ``on_begin`` and ``on_end`` are called from any thread.

    Raises `InputError` or `StorageError` where ``out`` cannot be written; what runs is then ended first.
    """
    make_folder(out)
    stop = stop or threading.Event()
    now = datetime.now(UTC)
    results = {p.case.id: open_plan(p, out, now) for p in plans}
    write_index(list(results.values()), out)

    def reproduce(plan: Plan) -> Result:
        on_begin(plan.case)
        return reproduce_case(
            plan.case,
            out,
            notebook=plan.notebook,
            parameters=plan.parameters,
            catalogue=plan.catalogue,
            timeout_s=timeout_s,
            stop=stop,
        )

    problem: TriageError | None = None
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="case") as pool:
        pending: set[Future[Result]] = {pool.submit(reproduce, plan) for plan in plans}
        try:
            while pending:
                # Waking up now and then lets the main thread run its signal handlers.
                ended, pending = wait(pending, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    try:
                        result = future.result()
                        results[result.case] = result
                        write_index(list(results.values()), out)
                        on_end(result)
                    except TriageError as error:
                        problem = problem or error
                        stop.set()
        except BaseException:
            stop.set()
            raise
    if problem:
        raise problem
    return tuple(results.values())
