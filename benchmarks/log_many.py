"""1,000 logs of 1 MB are read and clustered within 60 s on two cores, with a progress bar."""

import json
import os
import pty
import random
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measurement import Measurement
from benchmarks.log_speed import choose_rules, unname_groups, write_log
from triage.logs import read_rules

_KINDS = (
    "RuntimeError: HIP error: invalid argument",
    "ValueError: There is no module or parameter named 'model.visual' in Qwen2ForCausalLM",
    "torch.OutOfMemoryError: HIP out of memory. Tried to allocate {n}.00 GiB.",
    "ModuleNotFoundError: No module named 'schemathesis'",
    "AssertionError: Tensor-likes are not close!",
    "Memory access fault by GPU node-{n} (Agent handle: 0x{n:08x}) on address 0x{n:012x}. Reason: Unknown.",
)


def measure(*, logs: int = 1000, limit_s: float = 60.0) -> list[Measurement]:
    """Writes the logs, runs ``triage log FOLDER --json`` in a terminal of its own, and counts the kinds it found."""
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "logs")
        folder.mkdir()
        body = Path(name, "body.log")
        write_log(body, megabytes=1, failure=())
        text = body.read_bytes()
        for index in range(logs):
            kind = _KINDS[index % len(_KINDS)].format(n=rng.randrange(1, 999))
            (folder / f"{index:04d}.log").write_bytes(_begin(index) + text + _end(kind))
        seconds, answer, bar = _run_in_terminal(folder, Path(name, "answer.json"))
        found = [row["failures"] for row in answer["clusters"]]
        if len(found) != len(_KINDS) or sum(found) != logs or not bar:
            raise RuntimeError(f"{sum(found)} failures of {len(found)} kinds, bar: {bar}; so the time says nothing")
        peer_s = _time_ripgrep(folder)
    return [
        Measurement(
            promise=f"{logs} logs of 1 MB, read and clustered",
            measured=seconds,
            limit=limit_s,
            unit="s",
            spread=(seconds, seconds),
            peer="ripgrep, 20 patterns",
            peer_measured=peer_s,
        )
    ]


def _begin(index: int) -> bytes:
    return (
        f"[2026-04-{1 + index % 28:02d}T10:00:00Z] ~~~ mi300_1: Group {index % 40}\n"
        f"[2026-04-{1 + index % 28:02d}T10:00:01Z] Environment: Kubernetes pod=p node=rack-{index % 30} namespace=ci\n"
        f"[2026-04-{1 + index % 28:02d}T10:00:02Z] Status: Image is up to date for rocm/vllm-ci:{index // 40:08x}\n"
    ).encode()


def _end(root: str) -> bytes:
    lines = (
        "=================================== FAILURES ===================================",
        "_______________________________ test_keys _______________________________",
        f"E       {root}",
        "=========================== short test summary info ============================",
        f"FAILED models/test_x.py::test_keys - {root}",
        "======================== 1 failed, 9 passed in 63.02s ========================",
    )
    return "".join(f"[2026-04-15T11:00:00Z] {line}\n" for line in lines).encode()


def _run_in_terminal(folder: Path, out: Path) -> tuple[float, dict[str, list[dict[str, int]]], bool]:
    """The seconds, the answer, and whether a bar was seen on the terminal that is its stderr."""
    ours, theirs = pty.openpty()
    began = time.perf_counter()
    with out.open("wb") as file:
        command = [sys.executable, "-m", "triage.cli", "log", str(folder), "--json"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=theirs)
    os.close(theirs)
    seen = b""
    while process.poll() is None:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    process.wait()
    seconds = time.perf_counter() - began
    os.close(ours)
    if process.returncode:
        raise RuntimeError(seen.decode(errors="replace"))
    return seconds, json.loads(out.read_bytes()), bool(re.search(rb"reading logs.*\d+%", seen))


def _time_ripgrep(folder: Path) -> float:
    ripgrep = shutil.which("rg")
    if not ripgrep:
        return float("nan")
    rows = [f"--regexp={unname_groups(rule.pattern)}" for rule in choose_rules(read_rules())]
    began = time.perf_counter()
    subprocess.run([ripgrep, "--line-number", "--threads=2", *rows, str(folder)], check=True, capture_output=True)
    return time.perf_counter() - began
