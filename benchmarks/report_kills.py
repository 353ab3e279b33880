"""After 50 kills at random moments of `triage run -j 2`, no file is invalid and no process is alive.

Four in five kills are SIGKILL. Each notebook starts a daemon in a session of its own. A file is invalid if it is cut,
or if a page gives a verdict that its result does not. The peer is papermill, killed likewise.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks._measurement import Measurement
from benchmarks._notebooks import end_all, write_case
from benchmarks._watching import list_marked

KILLS = 50
PEER_KILLS = 12
_MARK = "TRIAGE_BENCHMARK_RUN"
_CELLS = [
    'from triage.report import conclude, open_report\nopen_report("bench")',
    "import subprocess\n_ = subprocess.Popen(['setsid', 'sleep', '600'])",
    *[f"print('x' * 1_000_000, {n})" for n in range(6)],
]


def measure(*, kills: int = KILLS, at_a_time: int = 2) -> list[Measurement]:
    """Kills at moments that are spread over the length of an undisturbed run."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(at_a_time) as pool:
        folder = Path(name)
        for case in ("one", "three", "two"):
            write_case(folder / "catalogue", case, _CELLS)
        began = time.monotonic()
        subprocess.run(_plan_run(folder, folder / "whole"), check=True, capture_output=True)
        length_s = time.monotonic() - began
        chance = random.Random(42)
        moments = [chance.uniform(0.3, length_s * at_a_time) for _ in range(kills)]
        found = list(pool.map(lambda k: _kill_run(folder, k, moments[k]), range(kills)))
        peers = list(pool.map(lambda k: _kill_papermill(folder, k, moments[k] / 3), range(PEER_KILLS)))
    invalid, survivors = sum(f[0] for f in found), sum(f[1] for f in found)
    return [
        _say(f"invalid files after {kills} kills of triage run", invalid, "files", sum(p[0] for p in peers)),
        _say(f"survivors of {kills} kills of triage run", survivors, "processes", sum(p[1] for p in peers)),
    ]


def _say(promise: str, count: int, unit: str, peer: int) -> Measurement:
    return Measurement(
        promise=promise,
        measured=count,
        limit=0,
        unit=unit,
        spread=(count, count),
        peer=f"papermill, {PEER_KILLS} kills",
        peer_measured=peer,
        peer_unit=unit,
    )


def _plan_run(folder: Path, out: Path) -> list[str]:
    command = [sys.executable, "-m", "triage.cli", "run", "-j", "2", "--catalogue", str(folder / "catalogue")]
    return [*command, "--out", str(out)]


def _kill(command: list[str], mark: str, moment_s: float, number: int) -> int:
    """Kills the command, and returns how many processes live on 20 s after it."""
    environment = os.environ | {_MARK: mark}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(moment_s)
        process.send_signal(signal.SIGTERM if number % 5 == 4 else signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (left := list_marked(f"{_MARK}={mark}")) and time.monotonic() < deadline:
        time.sleep(0.1)
    end_all(left)
    return len(left)


def _kill_run(folder: Path, number: int, moment_s: float) -> tuple[int, int]:
    out = folder / f"out-{number}"
    left = _kill(_plan_run(folder, out), f"run-{os.getpid()}-{number}-", moment_s, number)
    invalid = [path for path in out.rglob("*") if path.is_file() and not _is_valid(path)]
    for path in invalid:
        print(f"invalid after kill {number}: {path.relative_to(out)}", file=sys.stderr)
    return len(invalid), left


def _kill_papermill(folder: Path, number: int, moment_s: float) -> tuple[int, int]:
    output = folder / f"peer-{number}.ipynb"
    source = str(folder / "catalogue" / "one.ipynb")
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", source, str(output), "-k", "python3"]
    left = _kill(command, f"peer-{os.getpid()}-{number}-", moment_s, number)
    return int(output.exists() and not _is_valid(output)), left


def _is_valid(path: Path) -> bool:
    """Also of a file that had not yet got its name."""
    text = path.read_text(encoding="utf-8")
    name = path.name.rpartition(".")[0].rpartition(".")[0] if path.suffix == ".tmp" else path.name
    try:
        match Path(name).suffix:
            case ".json" | ".ipynb":
                json.loads(text)
            case ".xml":
                ET.fromstring(text)
            case ".html":
                return text.rstrip().endswith("</html>") and _agrees(path, text)
    except ValueError:
        return False
    except ET.ParseError:
        return False
    return True


def _agrees(page: Path, text: str) -> bool:
    """Whether the page says what its result says, or that the run did not end."""
    result = page.with_name("result.json")
    if not result.exists():
        return True
    verdict = json.loads(result.read_text(encoding="utf-8"))["verdict"]
    return any(f'class="word">{word} ' in text for word in (verdict, "INCOMPLETE"))
