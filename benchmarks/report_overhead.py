"""Audit, page and index take at most 5 % of the time that papermill needs for the same notebook.

The notebook does what the reproduction notebooks do besides their engines: it loads pandas and matplotlib, shows
tables and pictures, and leaves a log of 5,000 lines. A notebook that starts an engine takes 20 to 100 s more, at no
more overhead. The overhead is measured in a fresh process, with every import that the page needs.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measurement import Measurement, summarise
from benchmarks._notebooks import write_notebook

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
