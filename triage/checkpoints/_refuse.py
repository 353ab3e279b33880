"""How a broken checkpoint is refused: one sentence with the file and the place, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from triage.errors import CheckpointError

FETCH_AGAIN = "Fetch the file again; it is not what safetensors writes."
FETCH_WHOLE = "Fetch the checkpoint again, whole."
SAFE_WAY = "Save it as safetensors first: model.save_pretrained(FOLDER) of Transformers does."
_QUOTED_CHARACTERS = 120


def refuse(path: Path | str, what: str, *, hint: str = FETCH_AGAIN) -> NoReturn:
    """Raises `CheckpointError` about one file."""
    raise CheckpointError(f"{path}: {what}.", hint=hint)


def quote(value: object) -> str:
    """A foreign value for a sentence: escaped, and never longer than a line.

    >>> len(quote("a" * 10_000))
    120
    """
    text = ascii(value) if not str(value).isprintable() else repr(value)
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[: _QUOTED_CHARACTERS - 1]}…"
