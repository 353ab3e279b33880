"""Notebooks for the benchmarks of the report room: what the reproduction notebooks do besides their engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_CELLS = [
    'from triage.report import conclude, open_report, show_figure, show_table\nopen_report("bench")',
    "import matplotlib.pyplot as plt\nimport pandas as pd",
    'frame = pd.DataFrame({"n": range(100), "square": [n * n for n in range(100)]})',
    'show_table(frame, caption="A hundred squares")',
    *[
        f'f, a = plt.subplots()\na.plot(frame["n"], frame["square"] * {n})\nshow_figure(f, alt="A parabola")'
        for n in range(4)
    ],
    'for n in range(5000): print(f"INFO 11-23 10:00:00 [core.py:{n}] the engine takes step {n}")',
]
_CONCLUDE = (
    "from triage.result import Result\n"
    'conclude(Result(case="bench", family="unknown", verdict="REPRODUCED", cause="c", next_command="n"))'
)


def write_notebook(path: Path, cells: Sequence[str] = _CELLS) -> None:
    """A notebook of these cells that ends with a verdict; by default with tables, four pictures and a long log."""
    sources: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
        for n, source in enumerate([*cells, _CONCLUDE])
    ]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": sources, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook), encoding="utf-8")


def write_case(catalogue: Path, case: str, cells: Sequence[str] = _CELLS) -> None:
    """A case with a notebook of its own."""
    fields = {
        "id": case,
        "family": "unknown",
        "title": f"The case {case}",
        "upstream": "https://github.com/vllm-project/vllm/pull/42909",
        "test": "tests/test_it.py",
        "notebook": f"{case}.ipynb",
    }
    catalogue.mkdir(exist_ok=True)
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    (catalogue / f"{case}.toml").write_text("\n".join(lines), encoding="utf-8")
    write_notebook(catalogue / f"{case}.ipynb", cells)


def run_case(folder: Path) -> Path:
    """Runs the default notebook with triage; the folder of its report."""
    write_case(folder / "catalogue", "bench")
    command = [sys.executable, "-m", "triage.cli", "run", "--catalogue", str(folder / "catalogue")]
    subprocess.run([*command, "--out", str(folder / "out")], check=True, capture_output=True)
    return folder / "out" / "bench"


def end_all(pids: Sequence[int]) -> None:
    """Kills what a peer left behind."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
