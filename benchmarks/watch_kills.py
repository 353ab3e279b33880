"""After 200 watched commands that were ended, or whose watch was killed, no process of theirs is alive.

Each leaves a daemon: forked twice, in a session of its own, with a name of its own, deaf to SIGTERM. One after the
other is ended at its time limit, by SIGTERM, SIGINT or SIGHUP to the watch, or by SIGKILL to the watch. The peer is
`timeout` of coreutils, after which the same daemons live on.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measurement import Measurement
from benchmarks._watching import WATCH, list_marked

KILLS = 200
PEER_KILLS = 20
_WAYS = (None, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP)
_MARK = "TRIAGE_BENCHMARK_TREE"
_TREE = """
import ctypes, os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, b"renamed", 0, 0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(sys.argv[1], "w").close()
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(600)
"""


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)


def _end_one(folder: Path, number: int, environment: dict[str, str]) -> bool:
    """Ends one watched command in one of the ways; says whether a whole record is left."""
    way = _WAYS[number % len(_WAYS)]
    out, note = folder / f"out-{number}", folder / f"note-{number}"
    command = [*WATCH, "--out", str(out), "--timeout-s", "0.5" if way is None else "600", "--"]
    command += [sys.executable, "-c", _TREE, str(note)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        if way is not None:
            _wait_for(note, process)
            process.send_signal(way)
        process.wait(120)
    return "ending" in json.loads((out / "hang.json").read_text())


def _count_survivors(mark: str, *, within_s: float) -> int:
    deadline = time.monotonic() + within_s
    while (found := list_marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return len(found)


def _kill_marked(mark: str) -> None:
    for pid in list_marked(mark):
        os.kill(pid, signal.SIGKILL)


def measure(*, kills: int = KILLS, at_a_time: int = 8) -> Measurement:
    """Ends them, several at a time, and counts what is left."""
    from concurrent.futures import ThreadPoolExecutor

    mark = f"{_MARK}={os.getpid()}"
    environment = os.environ | dict([mark.split("=")])
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(at_a_time) as pool:
        folder = Path(name)
        records = list(pool.map(lambda number: _end_one(folder, number, environment), range(kills)))
        left = _count_survivors(mark, within_s=30) + records.count(False)
        for number in range(PEER_KILLS):
            command = ["timeout", "0.5", sys.executable, "-c", _TREE, str(folder / f"peer-{number}")]
            subprocess.run(command, env=environment, check=False)
        peer = len(list_marked(mark))
        _kill_marked(mark)
    return Measurement(
        promise=f"survivors of {kills} watched kills",
        measured=left,
        limit=0,
        unit="processes",
        spread=(left, left),
        peer=f"timeout, {PEER_KILLS} kills",
        peer_measured=peer,
        peer_unit="processes",
    )
