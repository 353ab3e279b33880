"""A tokenizer at one revision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from triage.engine.models import find_model
from triage.errors import SnapshotError


@dataclass(frozen=True)
class Snapshot:
    """A tokenizer at one revision. ``name`` is what reports call it; ``folder`` holds the model it belongs to."""

    name: str
    folder: Path
    tokenizer: Tokenizer

    def count(self, text: str, *, limit: int | None = None) -> int:
        """Tokens of a text that is sent alone: its pieces, at most ``limit`` of them, and the special tokens."""
        pieces = len(self.tokenizer.encode(text, add_special_tokens=False).ids)
        special: int = self.tokenizer.num_special_tokens_to_add(False)
        return special + (pieces if limit is None else min(pieces, limit))


def read_snapshot(folder: Path, *, name: str | None = None) -> Snapshot:
    """The tokenizer of a model folder, from its ``tokenizer.json``. Raises `SnapshotError`."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise SnapshotError(f"{folder} has no tokenizer.json.", hint="Name a folder with a fast tokenizer.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers knows no narrower one for a faulty file
        raise SnapshotError(f"{path} is no tokenizer: {error}.", hint="Fetch the file again.") from error
    tokenizer.no_padding()  # a batch is padded for the model's sake; it is no token of the text
    return Snapshot(name=name or folder.name, folder=folder, tokenizer=tokenizer)


def read_snapshots(*references: str) -> tuple[Snapshot, ...]:
    """The snapshots of several models, named as `triage.engine.models.find_model` names them.

    Raises `SnapshotError` where a name comes twice: a snapshot does not drift from itself.

    >>> read_snapshots("tiny:e5-metaspace", "tiny:e5-metaspace")
    Traceback (most recent call last):
    ...
    triage.errors.SnapshotError: tiny:e5-metaspace is named twice. Name two different snapshots.
    """
    for index, reference in enumerate(references):
        if reference in references[:index]:
            raise SnapshotError(f"{reference} is named twice.", hint="Name two different snapshots.")
    return tuple(read_snapshot(find_model(reference), name=reference) for reference in references)
