"""Audit, page and index take at most 5 % of the time that papermill needs for the same notebook.

The notebook does what the reproduction notebooks do besides their engines: it loads pandas and matplotlib, shows
tables and pictures, and leaves a log of 5,000 lines. A notebook that starts an engine takes 20 to 100 s more, at no
more overhead. The overhead is measured in a fresh process, with every import that the page needs.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._measurement import Measurement, summarise

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
    "from triage.result import Result\n"
    'conclude(Result(case="bench", family="unknown", verdict="REPRODUCED", cause="c", next_command="n"))',
]

# Runs in a process of its own, so that nothing is imported yet; prints (overhead, time under papermill).
_REPRODUCE = """
import sys, time
from pathlib import Path
from triage.cases import Case
from triage.report import reproduce_case, write_index
case = Case(id="bench", family="unknown", title="t", upstream="https://github.com/", test="t", notebook="bench.ipynb")
began = time.perf_counter()
result = reproduce_case(case, Path(sys.argv[2]), notebook=Path(sys.argv[1]))
write_index([result], Path(sys.argv[2]))
print(time.perf_counter() - began - result.duration_s)
"""


def write_notebook(path: Path) -> None:
    """Writes the notebook of this benchmark."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
        for n, source in enumerate(_CELLS)
    ]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook), encoding="utf-8")


def measure(*, runs: int = 3) -> Measurement:
    """Runs the notebook with bare papermill and with triage, in turn."""
    bare, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "bench.ipynb"), Path(folder, "bare.ipynb")
        write_notebook(source)
        papermill = [sys.executable, "-m", "papermill", "--no-progress-bar", str(source), str(output), "-k", "python3"]
        ours = [sys.executable, "-c", _REPRODUCE, str(source), str(Path(folder, "out"))]
        for _ in range(runs):
            began = time.perf_counter()
            subprocess.run(papermill, check=True, capture_output=True)
            bare.append(time.perf_counter() - began)
            overhead = subprocess.run(ours, check=True, capture_output=True, text=True).stdout
            ratios.append(100 * float(overhead) / bare[-1])
    median, spread = summarise(ratios)
    return Measurement(
        promise="report overhead",
        measured=median,
        limit=5.0,
        unit="% of papermill",
        spread=spread,
        peer="bare papermill, the same notebook",
        peer_measured=summarise(bare)[0],
    )
