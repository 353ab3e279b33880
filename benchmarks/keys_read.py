"""Names and shapes of 200,000 tensors in 500 files: twice as fast as `safe_open`, 15 times as fast as `load_file`.

The tensors hold a few values each, so the peers move next to no data. `load_file` is torch's, which model loaders use.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks._checkpoints import TENSORS, read_with_safe_open, write_checkpoint
from benchmarks._measurement import Measurement, summarise
from triage.checkpoints import read_headers


def measure(*, runs: int = 5, tensors: int = TENSORS) -> list[Measurement]:
    """All three in this process, in turn."""
    seconds: dict[str, list[float]] = {"safe_open": [], "load_file": [], "triage": []}
    with tempfile.TemporaryDirectory() as name:
        folder = write_checkpoint(Path(name) / "checkpoint", tensors=tensors)

        def load() -> dict[str, tuple[int, ...]]:
            shapes = {}
            for path in sorted(folder.glob("*.safetensors")):
                shapes.update({key: tuple(tensor.shape) for key, tensor in load_file(path).items()})
            return shapes

        ways = {
            "safe_open": lambda: read_with_safe_open(folder),
            "load_file": load,
            "triage": lambda: read_headers(folder),
        }
        for _ in range(runs):
            found: dict[str, Any] = {}
            for way, read in ways.items():
                began = time.perf_counter()
                found[way] = read()
                seconds[way].append(time.perf_counter() - began)
            shapes = found["triage"].shapes
            if not found["safe_open"] == found["load_file"] == shapes or len(shapes) != tensors:
                raise RuntimeError("the three ways read different checkpoints, so their times say nothing")
    return [
        _compare(seconds["triage"], seconds[peer], peer=peer, limit=limit)
        for peer, limit in (("safe_open", 1 / 2), ("load_file", 1 / 15))
    ]


def _compare(own: list[float], other: list[float], *, peer: str, limit: float) -> Measurement:
    median, spread = summarise([a / b for a, b in zip(own, other, strict=True)])
    return Measurement(
        promise=f"headers of 200,000 tensors, beside {peer}",
        measured=median,
        limit=limit,
        unit=f"x {peer} loop",
        spread=spread,
        peer=f"{peer} loop",
        peer_measured=summarise(other)[0],
    )
