"""Which files make up a checkpoint. No path that the checkpoint itself names leads out of its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from triage.checkpoints._header import read_small_file
from triage.checkpoints._refuse import FETCH_WHOLE, SAFE_WAY, quote, refuse
from triage.checkpoints._strict import parse_object
from triage.engine.hub import find_cached
from triage.engine.models import find_model
from triage.errors import CheckpointError

_SUFFIX = ".safetensors"
_INDEX_SUFFIX = ".safetensors.index.json"
_USUAL_INDEX = "model.safetensors.index.json"  # the one that vLLM and Transformers look for
_INDEX_MAX_BYTES = 500_000_000
_MISTRAL = "consolidated"  # Mistral's own layout, often beside the one of Transformers
_OTHER_FORMATS = {
    ".bin": "a pickle, which triage never opens",
    ".pt": "a pickle, which triage never opens",
    ".pth": "a pickle, which triage never opens",
    ".ckpt": "a pickle, which triage never opens",
    ".gguf": "a GGUF file, which triage does not open",
}
_NAME_ONE = "Name a .safetensors file, an index, or a folder of them."
_SERIES = re.compile(r"(?P<head>.*-)(?P<number>[0-9]{3,9})-of-(?P<total>[0-9]{3,9})\.safetensors")
_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A file to read: ``path`` as people know it, ``target`` where it really lies."""

    path: Path
    target: Path


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The files of a checkpoint, by the names that they have there.

    ``index`` is the place and the content (key -> file name) of the index, None without one; ``skipped`` names the
    files of Mistral's own layout that stand beside the ones that count.
    """

    shards: Mapping[str, Shard]
    index: tuple[Path, Mapping[str, str]] | None = None
    skipped: tuple[str, ...] = ()


def find_checkpoint(reference: str) -> Path:
    """The file or folder of a checkpoint: a path, ``tiny:NAME``, or ``owner/name@revision`` of the local Hub cache.

    Raises `CheckpointError` for a name that leads nowhere. Never asks the network.

    >>> find_checkpoint("nowhere.safetensors")
    Traceback (most recent call last):
    ...
    triage.errors.CheckpointError: nowhere.safetensors: no such file or folder. Name a .safetensors file, ...
    """
    if reference.startswith("tiny:"):
        return find_model(reference)
    if "\0" in reference or not reference.strip():
        raise CheckpointError(f"{reference!r} names no checkpoint.", hint=_NAME_ONE)
    path = Path(reference).expanduser()
    if os.path.lexists(path):
        return path
    match = _HUB_NAME.fullmatch(reference)
    if match is None or reference.startswith((".", "/", "~")) or reference.endswith(_SUFFIX):
        refuse(path, "no such file or folder", hint=_NAME_ONE)
    folder = find_cached(match["repo"], match["revision"])
    if folder is None:
        raise CheckpointError(
            f"{reference} is neither a path nor in the local Hub cache.",
            hint=f"Fetch it first: hf download {match['repo']}"
            + (f" --revision {match['revision']}" if match["revision"] else ""),
        )
    return folder


def find_layout(path: Path) -> Layout:
    """The files of a checkpoint: one file, those that an index names, or all safetensors files of a folder.

    Raises `CheckpointError` for a path without any, for other formats, and for names or links that leave the folder.
    """
    try:
        if path.is_dir():
            return _search_folder(path)
        if not path.exists():
            refuse(path, "a link that leads nowhere" if path.is_symlink() else "no such file or folder", hint=_NAME_ONE)
    except OSError as error:  # a name that is too long, a folder that may not be entered
        refuse(path, f"it cannot be read ({error.strerror})", hint="Check the path and its permissions.")
    if path.name.endswith(".index.json"):
        return _read_index(path, path.resolve())
    _refuse_other_format(path)
    return Layout(shards={path.name: Shard(path=path, target=path.resolve())})


def check_inside(folder: Path, name: str) -> Path:
    """Where a file of a checkpoint's folder really lies: in it, or among the blobs of the Hub cache's own repository.

    Raises `CheckpointError` for a file that is missing and for a link that leads anywhere else.
    """
    path = folder / name
    try:
        target = Path(os.path.realpath(path, strict=True))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.is_symlink():
            refuse(path, "the file is missing", hint=FETCH_WHOLE)
        what = "a link that leads nowhere" if path.is_symlink() else "it cannot be read"
        refuse(path, f"{what} ({error.strerror})", hint=FETCH_WHOLE)
    home = Path(os.path.realpath(folder))
    if not target.is_relative_to(home) and target.parent not in _list_blobs(home):
        refuse(path, "a link that leaves the checkpoint", hint="Copy the file to where the link stands.")
    return target


def _list_blobs(home: Path) -> list[Path]:
    """The folder ``blobs`` beside the ``snapshots`` that a folder lies in, as the Hub cache has it."""
    return [parent.parent / "blobs" for parent in home.parents if parent.name == "snapshots"][:1]


def _search_folder(folder: Path) -> Layout:
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError as error:
        refuse(folder, f"it cannot be read ({error.strerror})", hint="Check the folder's permissions.")
    found = [name for name in names if name.endswith(_SUFFIX)]
    indexes = [name for name in names if name.endswith(_INDEX_SUFFIX)]
    shards = [name for name in found if not name.startswith(_MISTRAL)]
    skipped = tuple(name for name in found if name.startswith(_MISTRAL))
    others = [name for name in indexes if not name.startswith(_MISTRAL)]
    if _USUAL_INDEX in indexes or len(others) == 1:
        index = _USUAL_INDEX if _USUAL_INDEX in indexes else others[0]
        return _read_index(folder / index, check_inside(folder, index), skipped=skipped)
    if others:
        refuse(folder, f"it holds {len(others)} indexes", hint=f"Name one of them: {folder / others[0]}.")
    if not shards:
        _refuse_folder(folder, names, skipped)
    _check_series(folder, shards)
    return Layout(shards=_check_shards(folder, shards), skipped=skipped)


def _check_series(folder: Path, names: list[str]) -> None:
    """Without an index the names tell how many files there are: ``model-00001-of-00006``, some count from 0."""
    series: dict[tuple[str, str], set[int]] = {}
    for name in names:
        if match := _SERIES.fullmatch(name):
            series.setdefault((match["head"], match["total"]), set()).add(int(match["number"]))
    for (head, total), found in series.items():
        first = min(1, *found)
        absent = next((n for n in range(first, first + int(total)) if n not in found), None)
        if absent is not None:
            name = f"{head}{absent:0{len(total)}}-of-{total}{_SUFFIX}"
            refuse(folder / name, "the file is missing, by the names of those beside it", hint=FETCH_WHOLE)


def _check_shards(folder: Path, names: list[str]) -> dict[str, Shard]:
    """What is no link lies where it stands; only links cost a look at where they lead."""
    home = Path(os.path.realpath(folder))
    return {
        name: Shard(
            path=folder / name,
            target=check_inside(folder, name) if "/" in name or os.path.islink(home / name) else home / name,
        )
        for name in names
    }


def _refuse_folder(folder: Path, names: list[str], mistral: tuple[str, ...]) -> None:
    if mistral:
        refuse(
            folder,
            f"it holds only Mistral's own layout ({mistral[0]}{', params.json' if 'params.json' in names else ''}), "
            "whose names are not those of Transformers",
            hint=f"Convert it for Transformers, or name the file to read it as it is: {folder / mistral[0]}.",
        )
    other = next((name for name in names if Path(name).suffix in _OTHER_FORMATS), None)
    if other:
        what = _OTHER_FORMATS[Path(other).suffix]
        refuse(folder, f"it holds no safetensors file; {other} is {what}", hint=SAFE_WAY)
    refuse(folder, "it holds no safetensors file", hint="Name the folder that the weights are in.")


def _refuse_other_format(path: Path) -> None:
    if path.suffix in _OTHER_FORMATS:
        refuse(path, _OTHER_FORMATS[path.suffix], hint=SAFE_WAY)
    if path.suffix != _SUFFIX and path.parent.name != "blobs":
        refuse(path, "no safetensors file", hint=_NAME_ONE)


def _read_index(path: Path, target: Path, *, skipped: tuple[str, ...] = ()) -> Layout:
    raw = read_small_file(path, target=target, max_bytes=_INDEX_MAX_BYTES)
    weight_map = parse_object(path, raw, what="the index").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        refuse(path, "its weight_map is not an object of file names")
    if not weight_map:
        refuse(path, "its weight_map is empty")
    names = sorted(set(weight_map.values()))
    for name in names:
        parts = name.split("/")
        if not name or name.startswith("/") or ".." in parts or "\0" in name:
            refuse(path, f"it names {quote(name)}, which leaves its folder", hint=FETCH_WHOLE)
        if Path(name).suffix in _OTHER_FORMATS:
            refuse(path, f"it names {quote(name)}, {_OTHER_FORMATS[Path(name).suffix]}", hint=SAFE_WAY)
        if not name.endswith(_SUFFIX):
            refuse(path, f"it names {quote(name)}, which is no safetensors file")
    shards = _check_shards(path.parent, names)
    return Layout(shards=shards, index=(path, weight_map), skipped=skipped)
