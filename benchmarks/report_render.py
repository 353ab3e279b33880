"""An executed notebook becomes a page in under a second, in a fresh process, with every import that it takes.

The peer is nbconvert's HTML exporter on the same notebook.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measurement import Measurement, summarise
from benchmarks._notebooks import run_case

_OURS = """
import json, sys
from pathlib import Path
from triage.report import render_report
from triage.result import read_result
folder = Path(sys.argv[1])
notebook, log = json.loads((folder / "notebook.ipynb").read_text()), (folder / "run.log").read_text()
Path(sys.argv[2]).write_text(render_report(notebook, result=read_result(folder / "result.json"), log=log))
"""
_PEER = """
import sys
from pathlib import Path
from nbconvert import HTMLExporter
Path(sys.argv[2]).write_text(HTMLExporter().from_filename(f"{sys.argv[1]}/notebook.ipynb")[0])
"""


def measure(*, runs: int = 5) -> Measurement:
    """Renders the same notebook with both, in turn."""
    ours, peer = [], []
    with tempfile.TemporaryDirectory() as name:
        report = run_case(Path(name))
        for _ in range(runs):
            for script, seconds in ((_OURS, ours), (_PEER, peer)):
                began = time.perf_counter()
                command = [sys.executable, "-W", "ignore", "-c", script, str(report), str(Path(name, "page.html"))]
                subprocess.run(command, check=True, capture_output=True)
                seconds.append(time.perf_counter() - began)
    median, spread = summarise(ours)
    return Measurement(
        promise="a notebook becomes a page",
        measured=median,
        limit=1.0,
        unit="s",
        spread=spread,
        peer="nbconvert, the same notebook",
        peer_measured=summarise(peer)[0],
    )
