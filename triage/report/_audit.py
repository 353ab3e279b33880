"""Which cells of an executed notebook really finished. What papermill recorded wrongly is put right.

After a dead kernel papermill calls every cell ``completed`` and the notebook free of exceptions. What can be
relied on: a code cell whose reply arrived has ``metadata.execution["shell.execute_reply"]`` (nbclient writes it
when the kernel has answered, with a result or with an error).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from triage.report._notebook import ERROR_MIME, RESULT_MIME
from triage.result import Result

_MARKER_TAG = "papermill-error-cell-tag"  # the two cells that papermill adds around a failure


class CellState(StrEnum):
    """What became of a code cell."""

    FINISHED = "finished"
    FAILED = "failed"
    UNFINISHED = "unfinished"  # it began and never ended
    NOT_REACHED = "not_reached"


_PAPERMILL_STATUS = {
    CellState.FINISHED: "completed",
    CellState.FAILED: "failed",
    CellState.UNFINISHED: "failed",
    CellState.NOT_REACHED: "pending",
}


@dataclass(frozen=True, kw_only=True)
class ToldError:
    """A `TriageError` that a cell raised, with its mend; ``types`` runs from its class to the root."""

    types: tuple[str, ...]
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One code cell. ``number`` counts the code cells of the source notebook from 1."""

    number: int
    first_line: str
    state: CellState
    error_name: str | None = None
    error_value: str | None = None
    told: ToldError | None = None

    def __str__(self) -> str:
        return f"cell {self.number} (`{self.first_line}`)"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an executed notebook proves: its cells, and the result that its last cell left."""

    cells: tuple[Cell, ...]
    result: Result | None = None
    result_problem: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every code cell finished."""
        return all(cell.state is CellState.FINISHED for cell in self.cells)

    @property
    def broken(self) -> Cell | None:
        """The first cell that failed or did not finish, else the first that was not reached."""
        return next((cell for cell in self.cells if cell.state is not CellState.FINISHED), None)


def audit_notebook(notebook: Any) -> Audit:
    """Reads what became of each cell, and corrects papermill's records in the notebook (a dict or NotebookNode).

    >>> reply = {"execution": {"shell.execute_reply": "2026-11-23T10:00:00Z"}, "papermill": {"status": "completed"}}
    >>> done = {"cell_type": "code", "source": "a = 1", "metadata": reply, "outputs": []}
    >>> begun = {"iopub.execute_input": "2026-11-23T10:00:01Z"}
    >>> dead = {"cell_type": "code", "source": "import os; os._exit(1)", "outputs": [],
    ...         "metadata": {"execution": begun, "papermill": {"status": "completed"}}}
    >>> notebook = {"cells": [done, dead], "metadata": {"papermill": {"exception": None}}}
    >>> str(audit_notebook(notebook).broken)
    'cell 2 (`import os; os._exit(1)`)'
    >>> notebook["metadata"]["papermill"]["exception"], dead["metadata"]["papermill"]["status"]
    (True, 'failed')
    """
    notebook["cells"] = [c for c in notebook["cells"] if _MARKER_TAG not in c["metadata"].get("tags", [])]
    cells: list[Cell] = []
    number, broken = 0, False
    for cell in _list_code_cells(notebook):
        number += "injected-parameters" not in cell["metadata"].get("tags", [])  # papermill's own cell
        audited = _audit_cell(cell, number=number, broken=broken)
        broken = broken or audited.state is not CellState.FINISHED
        record = cell["metadata"].setdefault("papermill", {})
        record["status"] = _PAPERMILL_STATUS[audited.state]
        record["exception"] = {CellState.FINISHED: False, CellState.NOT_REACHED: None}.get(audited.state, True)
        cells.append(audited)
    _settle_prose(notebook, broken=broken)
    notebook["metadata"].setdefault("papermill", {})["exception"] = True if broken else None
    result, problem = _read_result(notebook)
    return Audit(cells=tuple(cells), result=result, result_problem=problem)


def _list_code_cells(notebook: Any) -> Iterator[Any]:
    for cell in notebook["cells"]:
        skipped = "skip-execution" in cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip() and not skipped:
            yield cell


def _audit_cell(cell: Any, *, number: int, broken: bool) -> Cell:
    execution = cell["metadata"].get("execution", {})
    failure = next((o for o in cell["outputs"] if o["output_type"] == "error"), None)
    if "raises-exception" in cell["metadata"].get("tags", []):
        failure = None
    if failure is not None and not broken:
        state = CellState.FAILED
    elif broken:
        state = CellState.NOT_REACHED
    elif "shell.execute_reply" in execution:
        state = CellState.FINISHED
    else:
        started = execution or cell["metadata"].get("papermill", {}).get("start_time")
        state = CellState.UNFINISHED if started else CellState.NOT_REACHED
    lines = [line.strip() for line in "".join(cell["source"]).splitlines() if line.strip()]
    code = [line for line in lines if not line.startswith("#")] or lines
    return Cell(
        number=number,
        first_line=code[0] if len(code[0]) <= 80 else f"{code[0][:79]}…",
        state=state,
        error_name=failure and failure["ename"],
        error_value=failure and failure["evalue"],
        told=_read_told(cell) if failure else None,
    )


def _settle_prose(notebook: Any, *, broken: bool) -> None:
    """papermill calls text cells behind a failure ``completed`` too; a reader of the file should not."""
    reached = True
    for cell in notebook["cells"]:
        status = cell["metadata"].get("papermill", {}).get("status")
        if cell["cell_type"] == "code":
            reached = reached and status not in {"failed", "pending"}
        elif broken and not reached and status is not None:
            cell["metadata"]["papermill"]["status"] = "pending"


def _find_bundles(cell: Any, mime: str) -> list[Any]:
    return [o["data"][mime] for o in cell.get("outputs", []) if mime in o.get("data", {})]


def _read_result(notebook: Any) -> tuple[Result | None, str | None]:
    bundles = [bundle for cell in notebook["cells"] for bundle in _find_bundles(cell, RESULT_MIME)]
    if not bundles:
        return None, None
    try:
        return Result.model_validate(bundles[-1]), None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return None, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _read_told(cell: Any) -> ToldError | None:
    bundles = _find_bundles(cell, ERROR_MIME)
    if not bundles:
        return None
    return ToldError(types=tuple(bundles[-1]["types"]), message=bundles[-1]["message"], hint=bundles[-1]["hint"])
