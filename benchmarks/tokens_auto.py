"""Comparing two snapshots on 20,000 texts is at least 5 times faster than `AutoTokenizer` text by text."""

import subprocess
import sys
import time

from benchmarks._corpus import make_sentences
from benchmarks._measurement import Measurement, summarise
from triage import tokens

# In a process of its own: Transformers changes its process for good. It prints the seconds, without its import.
_TEXT_BY_TEXT = """
import sys, time
from benchmarks._corpus import make_sentences
from triage.engine.environment import prepare_import
prepare_import()
from transformers import AutoTokenizer
pair = [AutoTokenizer.from_pretrained(folder, local_files_only=True) for folder in sys.argv[2:]]
corpus = make_sentences(int(sys.argv[1]))
began = time.perf_counter()
parting = sum(pair[0](text)["input_ids"] != pair[1](text)["input_ids"] for text in corpus)
print(time.perf_counter() - began, parting)
"""


def measure(*, runs: int = 3, texts: int = 20_000) -> Measurement:
    """On the snapshots and the words of the upstream case; loading is counted on neither side."""
    corpus = make_sentences(texts)
    slow, ratios = [], []
    a, b = tokens.read_snapshots("tiny:e5-metaspace", "tiny:e5-whitespace")
    command = [sys.executable, "-c", _TEXT_BY_TEXT, str(texts), str(a.folder), str(b.folder)]
    for _ in range(runs):
        seconds, parting = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        slow.append(float(seconds))
        began = time.perf_counter()
        comparisons = tokens.compare_snapshots(a, b, corpus)
        ratios.append((time.perf_counter() - began) / slow[-1])
        if sum(comparison.first_divergence is not None for comparison in comparisons) != int(parting):
            raise RuntimeError("the two ways disagree on which texts part")
    median, spread = summarise(ratios)
    return Measurement(
        promise="20,000 texts compared, the tiny e5",
        measured=median,
        limit=0.2,
        unit="x AutoTokenizer",
        spread=spread,
        peer="AutoTokenizer, text by text",
        peer_measured=summarise(slow)[0],
    )
