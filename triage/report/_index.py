"""The page and the record over all reports of one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triage.files import write_atomic
from triage.report._versions import read_versions
from triage.result import Result

INDEX_SCHEMA_VERSION = 1


def plan_index(results: Sequence[Result]) -> dict[str, Any]:
    """The content of ``index.json``: paths are relative to its folder.

    >>> plan_index([])["results"]
    []
    """
    return {
        "schema_version": INDEX_SCHEMA_VERSION,
        "versions": read_versions(),
        "results": [
            {
                "case": result.case,
                "family": result.family.value,
                "verdict": result.verdict.value,
                "cause": result.cause,
                "next_command": result.next_command,
                "duration_s": result.duration_s,
                "report": f"{result.case}/report.html",
                "result": f"{result.case}/result.json",
            }
            for result in results
        ],
    }


def write_index(results: Sequence[Result], out: Path) -> dict[str, Any]:
    """Writes ``index.json`` and ``index.html`` into ``out``, and returns the content of the former.

    Raises `StorageError`.
    """
    from triage.report._render import render_index

    index = plan_index(results)
    write_atomic(out / "index.json", json.dumps(index, indent=2, ensure_ascii=False) + "\n")
    write_atomic(out / "index.html", render_index(index, results))
    return index
