"""The diff of two captures takes at most 50 ms, reading and ranking included; the peer is the `diff` of diffutils."""

import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks._measurement import Measurement, summarise
from triage.settings import capture_environment, compare_captures, read_capture


def measure(*, runs: int = 20) -> Measurement:
    """Two real captures of this machine that differ in every package and in 50 variables."""
    a = capture_environment()
    b = a.model_copy(
        update={
            "packages": {name: f"{version}.post1" for name, version in a.packages.items()},
            "variables": a.variables | {f"VLLM_PLANTED_{n}": str(n) for n in range(50)},
        }
    )
    seconds, peer = [], []
    with tempfile.TemporaryDirectory() as name:
        first, second = Path(name) / "a.json", Path(name) / "b.json"
        first.write_text(a.to_json())
        second.write_text(b.to_json())
        for _ in range(runs + 1):
            began = time.perf_counter()
            found = compare_captures(read_capture(first), read_capture(second))
            seconds.append(time.perf_counter() - began)
            if len(found.differences) != len(a.packages) + 50:
                raise RuntimeError("the diff is not the one that was planted, so its time says nothing")
            began = time.perf_counter()
            subprocess.run(["diff", first, second], check=False, capture_output=True)
            peer.append(time.perf_counter() - began)
    median, spread = summarise([1000 * s for s in seconds[1:]])
    return Measurement(
        promise="read and compare two captures",
        measured=median,
        limit=50,
        unit="ms",
        spread=spread,
        peer="diff of diffutils, unranked",
        peer_measured=1000 * summarise(peer[1:])[0],
        peer_unit="ms",
    )
