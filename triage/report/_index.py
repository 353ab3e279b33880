"""The page and the records over all reports of a folder: ``index.html``, ``index.json``, ``index.junit.xml``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triage.errors import InputError
from triage.files import write_atomic
from triage.report._junit import render_junit
from triage.report._versions import read_versions
from triage.result import Result, Verdict, read_result

INDEX_SCHEMA_VERSION = 1
RECORD, PAGE, JUNIT = "index.json", "index.html", "index.junit.xml"
_RESULT, _REPORT = "result.json", "report.html"
_NOT_REPORTS = {"work", "logs"}  # what a notebook and its servers leave beside a report


def plan_index(
    results: Mapping[str, Result], *, earlier: Mapping[str, Result] | None = None, previous: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of ``index.json``. Paths are relative to its folder; results are named by the path of their folder.

    ``results`` are of this run, ``earlier`` ones are in the folder besides, ``previous`` are the rows of the index
    before this one, by the path of their result: each row says what it was there.

    >>> plan_index({}, previous={})["results"]
    []
    """
    index: dict[str, Any] = {
        "schema_version": INDEX_SCHEMA_VERSION,
        "versions": read_versions(),
        "results": [_plan_row(folder, result, previous) for folder, result in results.items()],
    }
    if earlier:
        index["earlier"] = [_plan_row(folder, result, previous) for folder, result in earlier.items()]
    return index


def _plan_row(folder: str, result: Result, previous: Mapping[str, Any]) -> dict[str, Any]:
    path = f"{folder}/{_RESULT}"
    return {
        "case": result.case,
        "family": result.family.value,
        "verdict": result.verdict.value,
        "previous_verdict": previous.get(path),
        "cause": result.cause,
        "next_command": result.next_command,
        "node": result.node,
        "versions": result.versions,
        "started": result.started.isoformat() if result.started else None,
        "duration_s": result.duration_s,
        "report": f"{folder}/{_REPORT}",
        "result": path,
    }


@dataclass
class Index:
    """The index of a folder: what was there when it was opened is what a run is compared with."""

    out: Path
    earlier: Mapping[str, Result] = field(default_factory=dict)
    previous: Mapping[str, str] = field(default_factory=dict)
    expect: Verdict | None = None

    @classmethod
    def open(cls, out: Path, *, expect: Verdict | None = None) -> Index:
        """Reads the index that is in the folder, and the results of cases that lie directly in it."""
        found = {p.parent.name: r for p in sorted(out.glob(f"*/{_RESULT}")) if (r := _read_or_none(p))}
        return cls(out=out, earlier=found, previous=read_previous(out), expect=expect)

    def write(self, results: Sequence[Result]) -> dict[str, Any]:
        """Writes all three files over the results of this run, and returns the content of ``index.json``.

        Raises `StorageError`.
        """
        own = {result.case: result for result in results}
        others = {folder: result for folder, result in self.earlier.items() if folder not in own}
        return _write(self.out, plan_index(own, earlier=others, previous=self.previous), expect=self.expect)


def write_index(results: Sequence[Result], out: Path) -> dict[str, Any]:
    """Writes the index over the results of a run into ``out``, and returns the content of ``index.json``.

    Raises `StorageError`.
    """
    return Index.open(out).write(results)


def index_folder(folder: Path) -> dict[str, Any]:
    """Writes the index over every result below a folder: runs of many nodes, versions or days, each in its own folder.

    Returns the content of ``index.json``. Raises `InputError` if there is no result, and `StorageError`.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", hint="Name a folder that holds the --out folders of triage run.")
    found = {str(path.parent.relative_to(folder)): path for path in _find_results(folder)}
    results = {name: result for name, path in sorted(found.items()) if (result := _read_or_none(path))}
    if not results:
        raise InputError(
            f"There is no result.json of this triage below {folder}.", hint="Write some: triage run --out."
        )
    return _write(folder, plan_index(results, previous=read_previous(folder)), expect=None)


def read_previous(out: Path) -> dict[str, str]:
    """The verdicts of the index that is in the folder, by the path of each result; empty where there is none.

    A result that had not ended when its run was killed says nothing: there the verdict before it stands.
    """
    try:
        index = json.loads((out / RECORD).read_text(encoding="utf-8"))
        rows = [*index["results"], *index.get("earlier", [])]
        told = {
            str(row["result"]): row["verdict"] if row["duration_s"] is not None else row["previous_verdict"]
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none yet, or not ours
        return {}
    return {path: str(verdict) for path, verdict in told.items() if verdict is not None}


def _write(out: Path, index: dict[str, Any], *, expect: Verdict | None) -> dict[str, Any]:
    from triage.report._index_page import render_index

    write_atomic(out / RECORD, json.dumps(index, indent=2, ensure_ascii=False) + "\n")
    write_atomic(out / JUNIT, render_junit(index["results"], expect=expect))
    write_atomic(out / PAGE, render_index(index))
    return index


def _find_results(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_REPORTS and not name.startswith(".")]
        if _RESULT in files and Path(here) != folder:
            yield Path(here, _RESULT)


def _read_or_none(path: Path) -> Result | None:
    try:
        return read_result(path)
    except InputError:  # not one of ours, or of another version: it is left out, not guessed
        return None
