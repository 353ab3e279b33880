"""The four reports: at most 8 minutes on two cores after set-up, and under 12 GB of resident memory at any moment.

Runs what `make report` runs, into a temporary folder. Resident memory is the sum over the whole tree, sampled twice a
second; pages that processes share are counted in each, so the true figure is lower.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks._measurement import Measurement

_SAMPLE_S = 0.5


def measure() -> list[Measurement]:
    """One run of all cases."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "reports")
        began = time.perf_counter()
        peak, largest = 0, 0
        with subprocess.Popen([sys.executable, "-m", "triage.cli", "run", "--out", str(out)]) as process:
            while process.poll() is None:
                sizes = _read_sizes(process.pid)
                peak, largest = max(peak, sum(sizes)), max(largest, *sizes, 0)
                time.sleep(_SAMPLE_S)
        wall = time.perf_counter() - began
        if process.returncode:
            raise RuntimeError(f"triage run ended with {process.returncode}; see the table above")
        results = [json.loads(path.read_text()) for path in out.glob("*/result.json")]
    notebooks = sum(result["duration_s"] for result in results)
    return [
        Measurement(
            promise="the four reports, wall time",
            measured=wall / 60,
            limit=8.0,
            unit="min",
            spread=(wall / 60, wall / 60),
            peer="inside papermill, all notebooks",
            peer_measured=notebooks / 60,
            peer_unit="min",
        ),
        Measurement(
            promise="the four reports, resident memory",
            measured=peak / 1e9,
            limit=12.0,
            unit="GB",
            spread=(peak / 1e9, peak / 1e9),
            peer="the largest process of the run",
            peer_measured=largest / 1e9,
            peer_unit="GB",
        ),
    ]


def _read_sizes(pid: int) -> list[int]:
    """Resident bytes of each process of the tree."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    sizes = []
    for process in tree:
        try:
            sizes.append(process.memory_info().rss)
        except psutil.NoSuchProcess:  # it ended between the listing and the reading
            continue
    return sizes
