"""Evidence for a tree of ten processes is on disk within 10 s although the SMI tools never return.

Each process has loaded torch where it is installed, as an engine's have: their symbols are what takes time. The peer is
``py-spy dump --native`` on the ten, one after the other, once.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks._measurement import Measurement, summarise
from triage.files import write_atomic
from triage.hangs import collect_evidence, read_baseline
from triage.hangs._pyspy import find_pyspy

_PROCESSES = 10
_CHILD = """
import importlib.util, sys, threading, time
if importlib.util.find_spec("torch"):
    import torch
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
time.sleep(600)
"""
_HANGING = "#!/bin/sh\ntrap '' TERM INT HUP\nwhile :; do sleep 600; done\n"


@contextmanager
def _run_tree() -> Iterator[list[int]]:
    """Ten processes that have come to rest."""
    children = [
        subprocess.Popen([sys.executable, "-c", _CHILD], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(_PROCESSES)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        yield [child.pid for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _collect(pids: list[int], folder: Path) -> float:
    """The seconds from the stall to the record on disk. Raises where the record is not whole."""
    baseline = read_baseline()
    began = time.perf_counter()
    evidence = collect_evidence(lambda: pids, folder=folder, clock=time.monotonic, baseline=baseline)
    write_atomic(folder / "evidence.json", json.dumps(asdict(evidence)))
    seconds = time.perf_counter() - began
    stacks = [bool(p.threads and p.threads[0].frames) for sample in evidence.samples for p in sample.processes]
    if stacks != [True] * 2 * _PROCESSES:
        raise RuntimeError(f"{sum(stacks)} of {2 * _PROCESSES} stacks were had: {evidence.not_collected}")
    return seconds


def measure(*, runs: int = 3) -> Measurement:
    """Times the collecting and the writing, with an amd-smi and a rocm-smi that ignore TERM and never answer."""
    with tempfile.TemporaryDirectory() as name, _run_tree() as pids:
        folder = Path(name)
        for tool in ("amd-smi", "rocm-smi"):
            (folder / tool).write_text(_HANGING)
            (folder / tool).chmod(0o755)
        path = os.environ["PATH"]
        os.environ["PATH"] = os.pathsep.join((name, path))
        try:
            median, spread = summarise([_collect(pids, folder) for _ in range(runs)])
        finally:
            os.environ["PATH"] = path
        began = time.perf_counter()
        for pid in pids:
            subprocess.run(
                [str(find_pyspy()), "dump", "--native", "--pid", str(pid)], check=True, stdout=subprocess.DEVNULL
            )
        peer = time.perf_counter() - began
    return Measurement(
        promise="evidence of ten processes, SMI hangs",
        measured=median,
        limit=10,
        unit="s",
        spread=spread,
        peer="py-spy dump --native, ten times",
        peer_measured=peer,
    )
