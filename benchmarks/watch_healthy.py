"""Of 200 healthy commands none is taken for hung, although silence of two seconds would do.

They print, compute without a word, work in small pieces between sleeps, read, start children, or wait for a child
that works; each for about twice the stall limit. The peer is a watchdog that goes by output alone.
"""

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

from benchmarks._measurement import Measurement
from benchmarks._watching import WATCH

RUNS = 200
_STALL_S = 2.0
_FOR = "import time, subprocess, sys\nend = time.monotonic() + 4.5\nwhile time.monotonic() < end:\n    "
_HEALTHY = {
    "prints": "print('.', end='', flush=True); time.sleep(0.8)",
    "computes": "sum(range(10_000))",
    "works in pieces": "sum(range(400_000)); time.sleep(0.25)",
    "reads": "open('/dev/zero', 'rb').read(1 << 20); time.sleep(0.1)",
    "starts children": "subprocess.run([sys.executable, '-c', 'sum(range(300_000))'])",
    "waits for a child": "subprocess.run([sys.executable, '-c', 'for n in range(100): sum(range(300_000))'])",
}


def _judge_one(folder: Path, number: int) -> tuple[bool, bool]:
    """Whether the watch took it for hung, and whether it printed nothing for longer than the stall limit."""
    code = _FOR + list(_HEALTHY.values())[number % len(_HEALTHY)]
    out = folder / str(number)
    command = [*WATCH, "--out", str(out), "--stall-s", str(_STALL_S), "--", sys.executable, "-c", code]
    ended = run(command, capture_output=True, check=False)
    record = json.loads((out / "hang.json").read_text())
    silent = record["timeline"][-1]["output_bytes"] == 0 and record["duration_s"] > _STALL_S
    return ended.returncode != 0 or record["hung"], silent


def measure(*, runs: int = RUNS, at_a_time: int = 4) -> Measurement:
    """Runs them, several at a time."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_a_time) as pool:
        judged = list(pool.map(lambda number: _judge_one(Path(folder), number), range(runs)))
    false, silent = (sum(column) for column in zip(*judged, strict=True))
    return Measurement(
        promise=f"false hangs in {runs} healthy runs",
        measured=false,
        limit=0,
        unit="runs",
        spread=(false, false),
        peer="by output alone",
        peer_measured=silent,
        peer_unit="runs",
    )
