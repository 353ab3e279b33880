"""A log of 2 GB takes less than 200 MB of memory: as lines, and as one line of zeros without end."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._measurement import Measurement
from benchmarks.log_speed import write_log

_GIGABYTES = 2
_LIMIT_MB = 200.0


def measure() -> list[Measurement]:
    """Each log by a process of its own; the lines come through a pipe, the zeros from a sparse file."""
    with tempfile.TemporaryDirectory() as name:
        body = Path(name, "body.log")
        write_log(body, megabytes=20)
        lines, lines_peer = (_feed(command, body) for command in (_TRIAGE, _WC))
        sparse = Path(name, "sparse.log")
        with sparse.open("wb") as file:
            file.truncate(_GIGABYTES * 1_000_000_000)
        zeros = _read(sparse)
    return [
        _row("lines", lines, lines_peer),
        _row("one line of zeros", zeros, lines_peer),
    ]


_TRIAGE = (sys.executable, "-m", "triage.cli", "log", "-", "--json")
_WC = ("wc", "-l")
_PEAK = """
import json, resource, subprocess, sys
answer = subprocess.run(sys.argv[1:], check=True, stdin=sys.stdin, stdout=subprocess.PIPE).stdout
print(json.dumps([resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6, len(answer)]))
"""


def _row(what: str, measured: float, peer: float) -> Measurement:
    return Measurement(
        promise=f"memory for {_GIGABYTES} GB, {what}",
        measured=measured,
        limit=_LIMIT_MB,
        unit="MB",
        spread=(measured, measured),
        peer="wc -l",
        peer_measured=peer,
        peer_unit="MB",
    )


def _feed(command: tuple[str, ...], body: Path) -> float:
    """The peak of a command, in MB, that is fed the same lines until they are 2 GB."""
    data = body.read_bytes()
    process = subprocess.Popen([sys.executable, "-c", _PEAK, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    for _ in range(_GIGABYTES * 1_000_000_000 // len(data)):
        process.stdin.write(data)
    answer, _ = process.communicate()
    return float(json.loads(answer)[0])


def _read(path: Path) -> float:
    command = [sys.executable, "-c", _PEAK, *_TRIAGE[:-2], str(path), "--json"]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[0])
