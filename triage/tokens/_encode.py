"""Many texts under two snapshots, a batch at a time: all cores stay busy, and the memory is that of two batches."""

from __future__ import annotations

import filecmp
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from tokenizers import Encoding

from triage.tokens._snapshots import Snapshot

_BATCH_TEXTS = 8192  # each batch costs a wait for the interpreter on two threads
_BATCH_CHARACTERS = 1_000_000  # an encoding takes 20 to 150 bytes for a character

_Pair: TypeAlias = tuple[list[str], list[Encoding], list[Encoding]]


def encode_pairs(
    a: Snapshot, b: Snapshot, texts: Sequence[str], *, offsets: bool = True, special: bool = True
) -> Iterator[_Pair]:
    """The texts in batches, each with its encodings by ``a`` and by ``b``; without ``offsets`` it is a third quicker.

    The next batch is encoded while the caller looks at this one: the Rust library does not hold the interpreter. A text
    that is a batch of its own waits for its turn, for its encodings can be large. Two snapshots of one content are
    encoded once. Raises as `Snapshot.encode_batch` does.
    """
    snapshots = (a,) if _is_same(a, b) else (a, b)
    running: deque[tuple[list[str], list[Future[list[Encoding]]]]] = deque()

    def finish() -> _Pair:
        batch, sides = running.popleft()
        encodings = [side.result() for side in sides]
        return batch, encodings[0], encodings[-1]

    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="encode") as pool:
        for batch in _make_batches(texts):
            if running and len(batch) == 1:
                yield finish()
            sides = [
                pool.submit(snapshot.encode_batch, batch, offsets=offsets, special=special) for snapshot in snapshots
            ]
            running.append((batch, sides))
            if len(running) > 1:
                yield finish()
        while running:
            yield finish()


def _make_batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Large enough to keep all cores busy, small enough to hold the encodings of two in memory."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        characters += len(text)
        if batch and (len(batch) == _BATCH_TEXTS or characters > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], len(text)
        batch.append(text)
    if batch:
        yield batch


def _is_same(a: Snapshot, b: Snapshot) -> bool:
    """Whether both were read from the same content, byte for byte."""
    if a.tokenizer is b.tokenizer:
        return True
    return a.source is not None and b.source is not None and filecmp.cmp(a.source, b.source, shallow=False)
