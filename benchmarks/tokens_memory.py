"""The memory of a comparison grows no faster than the text: from 1 to 5 and 20 MB, in processes of their own."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._corpus import write_snapshots
from benchmarks._measurement import Measurement

# It prints the peak of resident memory, in bytes, before the text is there and after the comparison.
_COMPARE = """
import json, sys
from benchmarks._corpus import make_texts
from triage import tokens
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
a, b = tokens.read_snapshots(*sys.argv[2:])
part = "  ".join(make_texts(7_000))[:1_000_000]
assert len(part) == 1_000_000
tokens.compare_snapshots(a, b, [part[:10_000]])
before = peak()
(comparison,) = tokens.compare_snapshots(a, b, [part * int(sys.argv[1])])
assert comparison.first_divergence is not None
print(json.dumps([before, peak()]))
"""


def measure_peak(megabytes: int, *snapshots: Path) -> float:
    """Bytes of memory for each byte of one text, beside what the process needs without it."""
    command = [sys.executable, "-c", _COMPARE, str(megabytes), *map(str, snapshots)]
    before, after = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return float(after - before) / (megabytes * 1e6)


def measure(*, sizes: tuple[int, ...] = (1, 5, 20)) -> Measurement:
    """Bytes for each byte of the largest text against those for each of the smallest; 1 is linear."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_snapshots(Path(folder))
        each = [measure_peak(size, *paths) for size in sizes]
    growth = [bytes_each / each[0] for bytes_each in each]
    return Measurement(
        promise=f"memory linear, {' to '.join(map(str, sizes))} MB",
        measured=growth[-1],
        limit=1.25,
        unit="x the smallest's",
        spread=(min(growth), max(growth)),
        peer="for a byte of the smallest text",
        peer_measured=each[0],
        peer_unit="bytes",
    )
