"""A healthy command under `triage watch`: at most 1 % wall and 0.5 % CPU of one core, against the bare command.

Two commands: what a vLLM start does for a minute (a few hundred lines of log), and a printer of 100 MB/s into a
pipe that is read. The CPU time of the watch is its own and that of its guard, start-up included; for the printer, what
it writes itself is not counted. The peer is the bare command.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._measurement import Measurement, summarise
from benchmarks._watching import WATCH

SECONDS = 60
_START = """
import sys, time
line = "(EngineCore pid=1) INFO 11-23 15:26:01 [core.py:1] " + "what a start has to say " * 3
until = time.monotonic() + float(sys.argv[1])
n = 0
while time.monotonic() < until:
    print(line, n, flush=True)
    n += 1
    time.sleep(0.2)
"""
_PRINTER = """
import os, sys, time
block = b"x" * 99 + b"\\n"
block *= 656
began = time.monotonic()
for n in range(int(float(sys.argv[1]) * 1e8) // len(block)):
    os.write(1, block)
    ahead = (n + 1) * len(block) / 1e8 - (time.monotonic() - began)
    if ahead > 0.002:
        time.sleep(ahead)
"""
# Runs a command with its output into a reader that throws it away; prints wall and CPU seconds of the processes
# that are not the command itself, which tells its own CPU time on stderr.
_OWN = """
import resource
use = resource.getrusage(resource.RUSAGE_SELF)
print(use.ru_utime + use.ru_stime, file=sys.stderr)
"""


def _measure_once(code: str, seconds: float, out: Path | None) -> tuple[float, float]:
    """Wall seconds, and CPU seconds beside those of the command."""
    command = [sys.executable, "-c", code + _OWN, str(seconds)]
    if out is not None:
        command = [*WATCH, "--out", str(out), "--", *command]
    told = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], check=True, capture_output=True, text=True
    ).stdout.split()
    return float(told[0]), float(told[1])


_MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
with subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
    while process.stdout.read1(1 << 20):
        pass
    own = float(process.stderr.read())
assert process.returncode == 0
use = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - began, use.ru_utime + use.ru_stime - own)
"""


def measure(*, seconds: float = SECONDS, runs: int = 3) -> list[Measurement]:
    """Each command bare and watched, in turn."""
    measurements = []
    with tempfile.TemporaryDirectory() as folder:
        for name, code in (("a vLLM start", _START), ("a 100 MB/s printer", _PRINTER)):
            walls, shares = [], []
            for _ in range(runs):
                bare_wall_s, bare_cpu_s = _measure_once(code, seconds, None)
                wall_s, cpu_s = _measure_once(code, seconds, Path(folder))
                walls.append(100 * (wall_s - bare_wall_s) / bare_wall_s)
                shares.append(100 * (cpu_s - bare_cpu_s) / wall_s)
            for what, values, limit, unit in (
                ("wall", walls, 1.0, "% of the bare command"),
                ("CPU", shares, 0.5, "% of a core"),
            ):
                median, spread = summarise(values)
                measurements.append(
                    Measurement(
                        promise=f"watch of {name}, {what}",
                        measured=median,
                        limit=limit,
                        unit=unit,
                        spread=spread,
                        peer=f"the bare command, {seconds:g} s",
                        peer_measured=bare_wall_s,
                    )
                )
    return measurements
