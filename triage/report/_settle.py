"""From how a run ended and what its notebook proves, to the result that is written down."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from triage.cases import Case
from triage.engine.node import name_node
from triage.errors import InputError
from triage.report._audit import Audit, Cell
from triage.report._execute import Run
from triage.report._markup import shorten_line
from triage.report._outcome import End
from triage.report._versions import read_versions
from triage.result import Result, Verdict

# Raised inside a notebook, these speak of the node. An `EngineError` does not: a server that dies may be the
# very failure under investigation, so it leaves the run INCOMPLETE.
_INFRA_ERRORS = {"MissingDependencyError", "UnsupportedVersionError", "StorageError"}


def open_result(case: Case, *, parameters: Mapping[str, Any], started: datetime, again: str) -> Result:
    """The result while the notebook runs: INCOMPLETE, so that no earlier verdict passes for this run's.

    ``again`` is the command that runs the case once more in the same way.
    """
    return Result(
        case=case.id,
        family=case.family,
        verdict=Verdict.INCOMPLETE,
        cause="The run did not come to its end.",
        next_command=again,
        parameters=dict(parameters),
        versions=read_versions(),
        node=name_node(),
        started=started,
    )


def settle_result(opened: Result, run: Run, audit: Audit, *, log_name: str) -> Result:
    """The final result. The audited notebook decides; how the run ended explains what is missing in it."""
    told = audit.result
    base = opened if told is None else _adopt(told, opened)
    base = base.model_copy(update={"duration_s": round(run.duration_s, 3)})
    if run.survivors:  # not even SIGKILL ended them: they wait in the driver, and hold the device
        base = base.model_copy(update={"findings": base.findings | {"unkillable_processes": list(run.survivors)}})
    if told is not None and audit.complete:
        return base
    verdict, cause, next_command = _explain(opened.next_command, run, audit, log_name)
    told_error = audit.broken.told if audit.broken is not None else None
    bad_input = told_error is not None and InputError.__name__ in told_error.types
    update = {"verdict": verdict, "cause": cause, "next_command": next_command, "bad_input": bad_input}
    return base.model_copy(update=update)


def _adopt(told: Result, opened: Result) -> Result:
    """The notebook's own result, with what only the runner knows."""
    return told.model_copy(
        update={
            "case": opened.case,
            "parameters": opened.parameters,
            "node": opened.node,
            "started": opened.started,
            "versions": opened.versions | told.versions,
        }
    )


def _explain(again: str, run: Run, audit: Audit, log_name: str) -> tuple[Verdict, str, str]:  # noqa: PLR0911
    cell = audit.broken
    place = f" in {cell}" if cell else ""
    match run.end:
        case End.STOPPED:
            return Verdict.INCOMPLETE, f"The run was stopped{place}.", again
        case End.TIMED_OUT:
            cause = f"The time limit of the notebook, {run.detail}, ran out{place}."
            return Verdict.INCOMPLETE, cause, f"{again} --timeout-s {_double(run.detail)}"
        case End.CELL_TIMED_OUT:
            return Verdict.INCOMPLETE, f"The time limit of a cell, {run.detail}, ran out{place}.", again
        case End.KERNEL_DIED:
            return Verdict.INCOMPLETE, f"The kernel died{place}: {run.detail}.{_hint_at_oom(run.detail)}", again
        case End.KERNEL_DID_NOT_START:
            return Verdict.INFRA, f"The Jupyter kernel did not start: {run.detail}.", "triage doctor"
        case End.NOT_SAVED:
            return Verdict.INFRA, f"The notebook could not be saved{place}: {run.detail}.", again
        case End.WORKER_DIED:
            cause = f"The process that runs the notebook died{place}; {run.detail}. {log_name} says more."
            return Verdict.INCOMPLETE, cause, again
    if cell is not None:
        return _explain_cell(cell, again)
    problem = f"its result is not one ({audit.result_problem})" if audit.result_problem else "it never gave a verdict"
    cause = f"The notebook ran to its end, but {problem}: its last cell must call conclude(result)."
    return Verdict.INCOMPLETE, cause, again


def _explain_cell(cell: Cell, again: str) -> tuple[Verdict, str, str]:
    if cell.told is not None:
        verdict = Verdict.INFRA if _INFRA_ERRORS.intersection(cell.told.types) else Verdict.INCOMPLETE
        return verdict, f"{cell.told.message} Raised in {cell}.".replace("\n", " "), cell.told.hint or again
    if cell.error_name is not None:
        value = f": {shorten_line(cell.error_value)}" if cell.error_value else ""
        return Verdict.INCOMPLETE, f"C{str(cell)[1:]} raised {cell.error_name}{value}.".replace("\n", " "), again
    return Verdict.INCOMPLETE, f"The run broke off in {cell}.", again


def _hint_at_oom(detail: str) -> str:
    return (
        " If nobody killed it, look for the out-of-memory killer: dmesg | grep -i oom." if "SIGKILL" in detail else ""
    )


def _double(limit: str) -> str:
    return f"{2 * float(limit.removesuffix(' s')):g}"
