"""Comparing two snapshots on 20,000 texts takes at most 1.5 times two bare `encode_batch_fast` calls."""

import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks._corpus import make_texts, write_snapshots
from benchmarks._measurement import Measurement, summarise
from triage import tokens


def measure(*, runs: int = 5, texts: int = 20_000) -> Measurement:
    """Both in this process, in turn; the snapshots are read before, as the peer's are."""
    corpus = make_texts(texts)
    bare, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_snapshots(Path(folder))
        a, b = tokens.read_snapshots(*map(str, paths))
        peers = [Tokenizer.from_file(str(path / "tokenizer.json")) for path in paths]
        for _ in range(runs):
            began = time.perf_counter()
            for peer in peers:
                peer.encode_batch_fast(corpus)
            bare.append(time.perf_counter() - began)
            began = time.perf_counter()
            comparisons = tokens.compare_snapshots(a, b, corpus)
            ratios.append((time.perf_counter() - began) / bare[-1])
            if len(comparisons) != texts or not any(c.first_divergence for c in comparisons):
                raise RuntimeError("the comparison found nothing, so its time says nothing")
    median, spread = summarise(ratios)
    return Measurement(
        promise="20,000 texts compared",
        measured=median,
        limit=1.5,
        unit="x two encode_batch_fast",
        spread=spread,
        peer="two bare encode_batch_fast",
        peer_measured=summarise(bare)[0],
    )
