"""The whole diff of two checkpoints of 200,000 tensors takes less than three `safe_open` loops over one of them."""

import tempfile
import time
from pathlib import Path

from benchmarks._checkpoints import TENSORS, read_with_safe_open, write_checkpoint
from benchmarks._measurement import Measurement, summarise
from triage.checkpoints import compare_keys, fold_keys, read_headers


def measure(*, runs: int = 5, tensors: int = TENSORS) -> Measurement:
    """Reading both, comparing, and folding what differs for a reader; in turn with the peer, in this process."""
    peer, ratios = [], []
    with tempfile.TemporaryDirectory() as name:
        a, b = (write_checkpoint(Path(name) / p, tensors=tensors, prefix=p) for p in ("old", "newer"))
        for _ in range(runs):
            began = time.perf_counter()
            read_with_safe_open(a)
            peer.append(time.perf_counter() - began)
            began = time.perf_counter()
            diff = compare_keys(read_headers(a).shapes, read_headers(b).shapes)
            lines = fold_keys(diff.missing) + fold_keys(diff.unexpected)
            ratios.append((time.perf_counter() - began) / peer[-1])
            if not (len(diff.unexpected) == len(diff.missing) == tensors // 100 and diff.mismatched and lines):
                raise RuntimeError("the diff is not the one that was planted, so its time says nothing")
    median, spread = summarise(ratios)
    return Measurement(
        promise="diff of two checkpoints of 200,000 tensors",
        measured=median,
        limit=3.0,
        unit="x one safe_open loop",
        spread=spread,
        peer="one safe_open loop",
        peer_measured=summarise(peer)[0],
    )
