"""From a model's name to its folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from safetensors import SafetensorError, safe_open

from triage.engine.cache import build_whole
from triage.engine.environment import prepare_import
from triage.engine.versions import read_versions
from triage.errors import CheckpointError
from triage.files import find_cache

# name -> (module of this package, variant that its `build` is given)
_TINY: dict[str, tuple[str, str]] = {
    "e5-metaspace": ("e5", "metaspace"),
    "e5-whitespace": ("e5", "whitespace"),
    "gemma3-hub": ("gemma3", "hub"),
    "gemma3-legacy": ("gemma3", "legacy"),
    "gemma3-new": ("gemma3", "new"),
    "gritlm": ("gritlm", "grit"),
    "gritlm-mistral": ("gritlm", "mistral"),
    "qwen25vl": ("qwen25vl", "default"),
    "qwen25vl-hub": ("qwen25vl", "hub"),
}

_HEADER_MAX_BYTES = 100_000_000  # what safetensors allows
_SHORT_COMMIT = re.compile(r"^[0-9a-f]{7,39}$")
_HUB_NAME = re.compile(r"^(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?$")


def list_tiny_models() -> tuple[str, ...]:
    """The names of the checkpoints that triage can build.

    >>> "tiny:e5-metaspace" in list_tiny_models()
    True
    """
    return tuple(f"tiny:{name}" for name in _TINY)


def find_model(reference: str) -> Path:
    """The folder of a model; builds a tiny checkpoint that is not in the cache yet.

    Raises `CheckpointError` for a name that leads nowhere, and `StorageError` where the cache cannot be written.

    >>> find_model("tiny:e7")
    Traceback (most recent call last):
    ...
    triage.errors.CheckpointError: No tiny checkpoint is called 'e7'. There are: ...
    """
    if reference.startswith("tiny:"):
        return _find_tiny(reference.removeprefix("tiny:"))
    folder = Path(reference).expanduser()
    if folder.exists() or not _HUB_NAME.match(reference) or reference.startswith((".", "/", "~")):
        check_model_folder(folder)
        return folder.resolve()
    return _find_in_hub_cache(reference)


def check_model_folder(folder: Path) -> None:
    """Raises `CheckpointError` unless the folder holds a ``config.json`` that is a JSON object."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a model folder.", hint="Name a folder that holds a config.json.")
    config = folder / "config.json"
    if not config.is_file():
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise CheckpointError(f"{folder} has no config.json; it holds {held}.", hint="Name the folder of a model.")
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{config} cannot be read ({error.strerror}).", hint="Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{config} is not JSON: {error}.", hint="Fetch the file again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{config} holds no JSON object.", hint="Fetch the file again.")


def check_weights(folder: Path) -> None:
    """Raises `CheckpointError` where a safetensors file of the folder is not whole; reads headers alone.

    A server would say so too, but after most of its start, and in its own words. A folder without any such file passes.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} is no whole safetensors file: {error}.", hint="Fetch it again.") from error


def read_revision(folder: Path) -> str:
    """What a result records of a model: the Hub revision of a cached snapshot, else a hash of its small files.

    Of the weights only the headers are hashed: the data can be large, and two key layouts differ in the header alone.
    """
    if folder.parent.name == "snapshots":
        return folder.name
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = min(int.from_bytes(file.read(8), "little"), _HEADER_MAX_BYTES)
            digest.update(path.name.encode() + b"\0" + file.read(length) + b"\0")
    return f"sha256:{digest.hexdigest()[:16]}"


def _find_in_hub_cache(reference: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, _, revision = reference.partition("@")
    try:
        whole = _complete_commit(repo, revision) or revision or None
        return Path(snapshot_download(repo, revision=whole, local_files_only=True))
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"{reference} is neither a folder nor in the local Hub cache.",
            hint=f"Fetch it first: hf download {repo}" + (f" --revision {revision}" if revision else ""),
        ) from None


def _complete_commit(repo: str, start: str) -> str | None:
    """The commit of the cached snapshot that alone begins so; the Hub's client takes none but whole hashes."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if not _SHORT_COMMIT.match(start):
        return None
    folder = Path(HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "snapshots"
    found = [path.name for path in folder.glob(f"{start}*")]
    return found[0] if len(found) == 1 else None


def _find_tiny(name: str) -> Path:
    if name not in _TINY:
        raise CheckpointError(f"No tiny checkpoint is called {name!r}.", hint=f"There are: {', '.join(_TINY)}.")
    module, variant = _TINY[name]
    source = Path(__file__).with_name(f"{module}.py").read_bytes()
    versions = read_versions()
    key = hashlib.sha256(source + f"{versions['transformers']} {versions['tokenizers']}".encode()).hexdigest()[:12]
    folder = find_cache() / "models" / key / name
    if not (folder / "config.json").is_file():
        prepare_import()
        build: Callable[[Path, str], None] = import_module(f"triage.engine.models.{module}").build
        build_whole(folder, lambda target: build(target, variant))
    return folder
