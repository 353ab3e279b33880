"""A tokenizer at one revision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from triage.errors import SnapshotError


@dataclass(frozen=True)
class Snapshot:
    """A tokenizer at one revision. ``name`` is what reports call it."""

    name: str
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
    return Snapshot(name=name or folder.name, tokenizer=tokenizer)
