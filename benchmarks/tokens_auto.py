"""Comparing two snapshots on 20,000 texts is at least 5 times faster than `AutoTokenizer` text by text.

The promise is held for sentences as the rerank and embedding tests send them: 3 to 15 words of the e5 case, one in ten
of them ends in a space and so is encoded in two ways. Texts of 10, 60 and 500 words are measured too, with a vocabulary
of 50,000 pieces and words as rare as words are: the fewer of them come again, the less is saved. What two bare
`encode_batch_fast` need of `AutoTokenizer`'s time in the same run is in the peer's column.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks._corpus import make_sentences, make_texts, write_snapshots
from benchmarks._measurement import Measurement, summarise
from triage import tokens

_LENGTHS = {10: 8_000, 60: 2_000, 500: 300}  # words of a text, and how many texts

# In a process of its own: Transformers changes its process for good. It prints the seconds, without its import.
_TEXT_BY_TEXT = """
import json, sys, time
from triage.engine.environment import prepare_import
prepare_import()
from transformers import AutoTokenizer
pair = [AutoTokenizer.from_pretrained(folder, local_files_only=True) for folder in sys.argv[1:]]
corpus = json.load(sys.stdin)
began = time.perf_counter()
parting = sum(pair[0](text)["input_ids"] != pair[1](text)["input_ids"] for text in corpus)
print(time.perf_counter() - began, parting)
"""


def measure(*, runs: int = 3, texts: int = 20_000) -> list[Measurement]:
    """Loading is counted on no side."""
    tiny = tokens.read_snapshots("tiny:e5-metaspace", "tiny:e5-whitespace")
    found = [_measure(tiny, make_sentences(texts), f"{texts:,} texts compared, the tiny e5", runs=runs, limit=0.2)]
    with tempfile.TemporaryDirectory() as folder:
        pair = tokens.read_snapshots(*map(str, write_snapshots(Path(folder))))
        for words, count in _LENGTHS.items():
            corpus = make_texts(count, words=words)
            # No promise but to be faster: how much depends on the cores.
            found.append(_measure(pair, corpus, f"{count:,} texts of {words} words", runs=runs, limit=1.0))
    return found


def _measure(
    pair: Sequence[tokens.Snapshot], corpus: list[str], promise: str, *, runs: int, limit: float
) -> Measurement:
    a, b = pair
    peers = [Tokenizer.from_file(str(snapshot.folder / "tokenizer.json")) for snapshot in pair]
    command = [sys.executable, "-c", _TEXT_BY_TEXT, str(a.folder), str(b.folder)]
    slow, ratios, floors = [], [], []
    for _ in range(runs):
        ended = subprocess.run(command, input=json.dumps(corpus), check=True, capture_output=True, text=True)
        seconds, parting = ended.stdout.split()
        slow.append(float(seconds))
        floors.append(_time(lambda: [peer.encode_batch_fast(corpus) for peer in peers]) / slow[-1])
        ratios.append(_time(lambda: tokens.compare_snapshots(a, b, corpus)) / slow[-1])
        if sum(c.first_divergence is not None for c in tokens.compare_snapshots(a, b, corpus)) != int(parting):
            raise RuntimeError("the two ways disagree on which texts part")
    median, spread = summarise(ratios)
    return Measurement(
        promise=promise,
        measured=median,
        limit=limit,
        unit="x AutoTokenizer",
        spread=spread,
        peer=f"AutoTokenizer, text by text; two bare encode_batch_fast {summarise(floors)[0]:.2f} x",
        peer_measured=summarise(slow)[0],
    )


def _time(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
