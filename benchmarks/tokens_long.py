"""One text of 5 MB is compared within 2 times two bare `encode` calls."""

import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks._corpus import make_texts, write_snapshots
from benchmarks._measurement import Measurement, summarise
from triage import tokens

_CHARACTERS = 5_000_000


def measure(*, runs: int = 3) -> Measurement:
    """The text is one line; the snapshots part near its beginning, so that nearly all of it has to be aligned."""
    line = "  ".join(make_texts(60_000))[:_CHARACTERS]
    bare, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_snapshots(Path(folder))
        a, b = tokens.read_snapshots(*map(str, paths))
        peers = [Tokenizer.from_file(str(path / "tokenizer.json")) for path in paths]
        for _ in range(runs):
            began = time.perf_counter()
            for peer in peers:
                peer.encode(line)
            bare.append(time.perf_counter() - began)
            began = time.perf_counter()
            (comparison,) = tokens.compare_snapshots(a, b, [line])
            ratios.append((time.perf_counter() - began) / bare[-1])
            if comparison.first_divergence is None:
                raise RuntimeError("the comparison found nothing, so its time says nothing")
    median, spread = summarise(ratios)
    return Measurement(
        promise=f"a text of {len(line) / 1e6:.1f} MB compared",
        measured=median,
        limit=2.0,
        unit="x two encode",
        spread=spread,
        peer="two bare encode",
        peer_measured=summarise(bare)[0],
    )
