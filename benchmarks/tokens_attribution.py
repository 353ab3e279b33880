"""An attribution encodes at most as many shortened texts as there are stages squared."""

import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks._corpus import make_texts, write_snapshots
from benchmarks._measurement import Measurement
from triage import tokens


def measure(*, texts: int = 2_000) -> Measurement:
    """Counts the encodings of the search itself; what the peer needs is the time of one encoding of all texts."""
    corpus = make_texts(texts)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_snapshots(Path(folder))
        a, b = tokens.read_snapshots(*map(str, paths))
        began = time.perf_counter()
        Tokenizer.from_file(str(paths[0] / "tokenizer.json")).encode_batch(corpus)
        peer = time.perf_counter() - began
        attribution = tokens.attribute_difference(a, b, corpus)
    if attribution.stages != (tokens.Stage.PRE_TOKENIZER,):
        raise RuntimeError(f"the wrong stages were found: {attribution.stages}")
    return Measurement(
        promise="stages attributed",
        measured=attribution.encodings,
        limit=len(tokens.Stage) ** 2,
        unit="encodings",
        spread=(attribution.encodings, attribution.encodings),
        peer=f"one encode_batch of {texts:,} texts",
        peer_measured=peer,
    )
