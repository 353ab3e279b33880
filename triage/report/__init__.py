"""The report room: run a notebook, audit it, render it, index it.

A notebook uses five names of it; the rest serves ``triage run``. All names load on first use, so that the first
cell of a notebook is quick::

    from triage.report import conclude, open_report, show_figure, show_progress, show_table

    open_report("e5-token-count")            # a banner that says INCOMPLETE
    show_table(frame, caption="…")           # evidence, as a table with a caption
    show_figure(figure, alt="…")             # evidence, as a picture that can also be read aloud
    with show_progress("vLLM is starting"):  # a line for whoever is looking, gone when the work is done
        …
    conclude(result)                         # the banner now says the verdict
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triage.report._audit import Audit, Cell, CellState, audit_notebook
    from triage.report._campaign import Plan, plan_cases, reproduce_cases, select_cases
    from triage.report._capacity import Jobs, plan_jobs
    from triage.report._devices import Gpu, list_gpus
    from triage.report._execute import Run, count_cells, execute_notebook
    from triage.report._fleet import reproduce_on_slurm
    from triage.report._hang import judge_record, write_hang_report
    from triage.report._index import index_folder, write_index
    from triage.report._lab import plan_lab, prepare_notebooks
    from triage.report._notebook import conclude, open_report, show_figure, show_table
    from triage.report._observer import Observer
    from triage.report._parameters import Parameter, check_parameters, read_parameters
    from triage.report._progress import show_progress
    from triage.report._render import render_report
    from triage.report._reproduce import check_case, reproduce_case

_HOME = {
    "Audit": "_audit",
    "Cell": "_audit",
    "CellState": "_audit",
    "Gpu": "_devices",
    "Jobs": "_capacity",
    "Observer": "_observer",
    "Parameter": "_parameters",
    "Plan": "_campaign",
    "Run": "_execute",
    "audit_notebook": "_audit",
    "check_case": "_reproduce",
    "check_parameters": "_parameters",
    "conclude": "_notebook",
    "count_cells": "_execute",
    "execute_notebook": "_execute",
    "index_folder": "_index",
    "judge_record": "_hang",
    "list_gpus": "_devices",
    "open_report": "_notebook",
    "plan_cases": "_campaign",
    "plan_jobs": "_capacity",
    "plan_lab": "_lab",
    "prepare_notebooks": "_lab",
    "read_parameters": "_parameters",
    "render_report": "_render",
    "reproduce_case": "_reproduce",
    "reproduce_cases": "_campaign",
    "reproduce_on_slurm": "_fleet",
    "select_cases": "_campaign",
    "show_figure": "_notebook",
    "show_progress": "_progress",
    "show_table": "_notebook",
    "write_hang_report": "_hang",
    "write_index": "_index",
}

__all__ = [
    "Audit",
    "Cell",
    "CellState",
    "Gpu",
    "Jobs",
    "Observer",
    "Parameter",
    "Plan",
    "Run",
    "audit_notebook",
    "check_case",
    "check_parameters",
    "conclude",
    "count_cells",
    "execute_notebook",
    "index_folder",
    "judge_record",
    "list_gpus",
    "open_report",
    "plan_cases",
    "plan_jobs",
    "plan_lab",
    "prepare_notebooks",
    "read_parameters",
    "render_report",
    "reproduce_case",
    "reproduce_cases",
    "reproduce_on_slurm",
    "select_cases",
    "show_figure",
    "show_progress",
    "show_table",
    "write_hang_report",
    "write_index",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"triage.report.{_HOME[name]}"), name)
    raise AttributeError(f"module 'triage.report' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
