"""Which results of an earlier run stand, so that a run that broke off need not begin anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triage.cases import Case
from triage.errors import InputError
from triage.report._execute import read_source
from triage.report._parameters import read_parameters
from triage.report._render import name_result
from triage.report._reproduce import NOTEBOOK, REPORT, RESULT, write_report
from triage.result import Result, read_result

_HEAD_BYTES = 4096  # the page names its result before its style sheet


def find_result(opened: Result, folder: Path, *, case: Case, notebook: Path) -> Result | None:
    """The result in ``folder`` if it answers what a run that begins with ``opened`` would ask; else None.

    It must be conclusive, of the same parameters and versions, and of the same notebook, cell by cell. Where a kill
    left its page behind it, the page is written again. Raises `StorageError`.
    """
    try:
        kept = read_result(folder / RESULT)
        executed = json.loads((folder / NOTEBOOK).read_text(encoding="utf-8"))
        same_text = _list_sources(executed) == _list_sources(read_source(notebook))
    except (InputError, OSError, ValueError, KeyError, TypeError):  # none, or not whole: to be run
        return None
    same_versions = opened.versions.items() <= kept.versions.items()
    asks_the_same = (kept.case, kept.parameters) == (opened.case, opened.parameters)
    if not (kept.verdict.conclusive and asks_the_same and same_versions and same_text):
        return None
    if not _shows(folder / REPORT, kept):
        write_report(folder, case=case, result=kept, notebook=executed, parameters=read_parameters(notebook))
    return kept


def _list_sources(notebook: Mapping[str, Any]) -> list[str]:
    """The text of each cell, without the one that papermill adds for the parameters."""
    cells = [cell for cell in notebook["cells"] if "injected-parameters" not in cell["metadata"].get("tags", [])]
    return ["".join(cell["source"]) for cell in cells]


def _shows(page: Path, result: Result) -> bool:
    try:
        with page.open(encoding="utf-8", errors="replace") as file:
            return f'content="{name_result(result)}"' in file.read(_HEAD_BYTES)
    except OSError:
        return False
