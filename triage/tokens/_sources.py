"""From what a person calls a snapshot to the ``tokenizer.json`` to read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from triage.engine.conversion import convert_sentencepiece, convert_slow_tokenizer, find_slow_files, names_own_code
from triage.engine.hub import download_tokenizer, find_cached, list_cached
from triage.engine.models import find_model
from triage.errors import SnapshotError

_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A tokenizer on disk: its ``tokenizer.json``, converted where need be, and the folder of its model."""

    file: Path
    folder: Path


def find_source(reference: str, *, download: bool, trust_remote_code: bool) -> Source:
    """Where a snapshot lies. Raises `SnapshotError` for a name that leads nowhere, saying what the cache holds."""
    if reference.startswith("tiny:"):
        return find_tokenizer(find_model(reference))
    if "\0" in reference or not reference.strip():
        raise SnapshotError(f"{reference!r} names no snapshot.", hint="Name a folder, a file, or owner/name@revision.")
    path = Path(reference).expanduser()
    match = _HUB_NAME.fullmatch(reference)
    if _exists(path) or match is None or reference.startswith((".", "/", "~")):
        return find_tokenizer(path, trust_remote_code=trust_remote_code)
    return _find_on_hub(reference, match["repo"], match["revision"], download, trust_remote_code)


def find_tokenizer(path: Path, *, trust_remote_code: bool = False) -> Source:
    """The tokenizer of a folder or a file; a SentencePiece model or a slow tokenizer is converted, and cached.

    Raises `SnapshotError`.
    """
    if not _exists(path):
        raise SnapshotError(
            f"{path} does not exist.",
            hint="Name a folder, a tokenizer.json, a SentencePiece .model, or owner/name@revision.",
        )
    if not path.is_dir():
        folder = path.absolute().parent
        if path.suffix == ".model":
            return Source(file=convert_sentencepiece(path), folder=folder)
        return Source(file=path, folder=folder)
    trusted = trust_remote_code and names_own_code(path)  # its class may do more than its tokenizer.json says
    if (path / "tokenizer.json").is_file() and not trusted:
        return Source(file=path / "tokenizer.json", folder=path)
    if not trusted and not find_slow_files(path):
        raise SnapshotError(
            f"{path} has no tokenizer.json, and no files that Transformers makes one of.",
            hint="Name a folder with a tokenizer.",
        )
    return Source(file=convert_slow_tokenizer(path, trust_remote_code=trust_remote_code), folder=path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _find_on_hub(reference: str, repo: str, revision: str | None, download: bool, trust_remote_code: bool) -> Source:
    folder = find_cached(repo, revision)
    if folder is not None and ((folder / "tokenizer.json").is_file() or find_slow_files(folder) or not download):
        return find_tokenizer(folder, trust_remote_code=trust_remote_code)
    if download:
        fetched = download_tokenizer(repo, revision, with_code=trust_remote_code)
        return find_tokenizer(fetched, trust_remote_code=trust_remote_code)
    held = [cached for cached in list_cached() if cached.repo == repo]
    others = ", ".join(f"@{cached.revision[:12]}" for cached in held)
    raise SnapshotError(
        f"{reference} is neither a path nor in the local Hub cache, which holds "
        + (f"of {repo} only {others}." if held else f"no {repo}."),
        hint="Add --download to fetch it, or name one that is there: `triage snapshots` lists them.",
    )
