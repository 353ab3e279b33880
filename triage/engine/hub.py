"""The local Hub cache: what it holds, and how to add to it when asked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from triage.engine.conversion import find_slow_files
from triage.errors import SnapshotError

# All that any tokenizer needs; no weights.
_TOKENIZER_FILES = ["tokenizer*", "*.model", "*.tiktoken", "vocab*", "merges.txt", "*.bpe", "added_tokens.json"]
_TOKENIZER_FILES += ["special_tokens_map.json", "config.json", "tekken.json"]
_ETAG_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class CachedSnapshot:
    """One revision of a model in the cache: its commit, the branches and tags that point there, and its folder."""

    repo: str
    revision: str
    refs: tuple[str, ...]
    folder: Path

    @property
    def has_tokenizer(self) -> bool:
        """Whether it holds a ``tokenizer.json``, or files that Transformers makes one of."""
        return (self.folder / "tokenizer.json").is_file() or bool(find_slow_files(self.folder))


def find_hub_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the Hub cache, from the variables that huggingface_hub reads; it need not exist.

    >>> find_hub_cache({}).name
    'hub'
    """
    home = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface")
    home = Path(environ.get("HF_HOME") or home)
    named = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named or home / "hub").expanduser()


def list_cached(cache: Path | None = None) -> tuple[CachedSnapshot, ...]:
    """What the local Hub cache holds of models; ``cache`` is another folder than the usual one.

    >>> list_cached(Path("/nowhere"))
    ()
    """
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        found = scan_cache_dir(cache)
    except (CacheNotFound, ValueError):  # there is none, or a file stands in its place
        return ()
    snapshots = [
        CachedSnapshot(
            repo=repo.repo_id, revision=held.commit_hash, refs=tuple(sorted(held.refs)), folder=held.snapshot_path
        )
        for repo in found.repos
        if repo.repo_type == "model"
        for held in repo.revisions
    ]
    return tuple(sorted(snapshots, key=lambda snapshot: (snapshot.repo, snapshot.revision)))


def find_cached(repo: str, revision: str | None = None, *, cache: Path | None = None) -> Path | None:
    """The folder of a model in the cache; None where it is not there. Never asks the network.

    ``revision`` is a branch, a tag, a commit, or the beginning of one; without, it is ``main``, or the only one held.
    Raises `SnapshotError` for a beginning that fits several.
    """
    held = [snapshot for snapshot in list_cached(cache) if snapshot.repo == repo]
    exact = [s for s in held if (revision or "main") in {*s.refs, s.revision}]
    fitting = exact or [s for s in held if revision is None or (len(revision) >= 4 and s.revision.startswith(revision))]
    if len(fitting) > 1:
        raise SnapshotError(
            f"{repo}{f'@{revision}' if revision else ''} can be {' or '.join(s.revision[:12] for s in fitting)}.",
            hint="Name the whole revision.",
        )
    return fitting[0].folder if fitting else None


def download_tokenizer(repo: str, revision: str | None = None, *, with_code: bool = False) -> Path:
    """Fetches the files of a tokenizer, no weights, into the Hub cache; Python files only ``with_code``.

    A download that breaks off leaves the revisions and branches of the cache as they were: half of a tokenizer could be
    taken for one of another kind. What has come already is kept among the blobs, for the next time.

    Raises `SnapshotError` where the Hub does not answer, does not know the name, or does not give it out.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    reference = f"{repo}@{revision}" if revision else repo
    patterns = [*_TOKENIZER_FILES, *(["*.py"] if with_code else [])]
    try:
        with _undo_failure(repo), _quiet():
            fetched = snapshot_download(repo, revision=revision, allow_patterns=patterns, etag_timeout=_ETAG_TIMEOUT_S)
        return Path(fetched)
    except GatedRepoError as error:
        raise SnapshotError(
            f"The Hub does not give out {repo} to you.", hint="Ask for access there, then run `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise SnapshotError(
            f"The Hub has {repo}, but no revision {revision}.", hint="Name another revision."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise SnapshotError(
            f"The Hub has no model {repo}, or does not show it to you.",
            hint="Check the name; for a private model run `hf auth login`.",
        ) from error
    except Exception as error:  # httpx's, the disk's and the Hub's own, which share no root
        reason = " ".join(str(error).split("\n", 1)[0].split())[:200].rstrip(".")
        raise SnapshotError(
            f"{reference} could not be fetched from the Hub ({reason}).",
            hint="Check the network, or name a local folder.",
        ) from error


@contextmanager
def _undo_failure(repo: str) -> Iterator[None]:
    """Takes back what a failed download has added to the revisions of a model, and what it did to its branches."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"))
    held = _list_files(folder / "snapshots")
    branches = {path: path.read_bytes() for path in _list_files(folder / "refs")}
    try:
        yield
    except BaseException:  # Ctrl-C too
        with suppress(OSError):  # a disk that is full or gone: the download's own error says so
            for path in _list_files(folder / "snapshots") - held:
                path.unlink()
                _remove_empty(path.parent, above=folder)
            for path in _list_files(folder / "refs") - branches.keys():
                path.unlink()
                _remove_empty(path.parent, above=folder)
            for path, commit in branches.items():
                if path.read_bytes() != commit:
                    path.write_bytes(commit)
        raise


def _list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_symlink() or path.is_file()}


def _remove_empty(folder: Path, *, above: Path) -> None:
    while folder != above and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no warnings on standard error: a failure is one sentence there."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown, verbosity = not are_progress_bars_disabled(), get_verbosity()
    disable_progress_bars()
    set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        set_verbosity(verbosity)
        if shown:
            enable_progress_bars()
