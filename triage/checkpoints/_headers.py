"""Reads the headers of safetensors files, and nothing but the headers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from triage.errors import CheckpointError

if TYPE_CHECKING:
    import pandas as pd

# Bits of one value. https://github.com/huggingface/safetensors: `Dtype` in safetensors/src/tensor.rs
_DTYPE_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
_LENGTH_BYTES = 8
_HEADER_MAX_BYTES = 100_000_000  # the format's own limit
_INDEX_SUFFIX = ".safetensors.index.json"
_UNREAD = {
    ".bin": "a pickle",
    ".pt": "a pickle",
    ".pth": "a pickle",
    ".gguf": "a GGUF file",
}
_SAFE_WAY = "Save it as safetensors first: model.save_pretrained(FOLDER) of Transformers does."
_FETCH = "Fetch the file again; it is not what safetensors writes."


def read_checkpoint(path: Path) -> pd.DataFrame:
    """The tensors of a checkpoint, from its headers alone: one row each, in the order of the files.

    Columns: ``key``, ``dtype`` (safetensors' names), ``shape`` (tuple), ``shard`` (file name), ``bytes``. ``path`` is a
    ``.safetensors`` file, an index, or a folder; in a folder an index decides which files count, else all do.

    Raises `CheckpointError` for anything that is not whole: the message names the file and the place.
    Format: https://github.com/huggingface/safetensors#format

    >>> import tempfile; from safetensors.numpy import save_file; import numpy as np
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_file({"head.weight": np.zeros((2, 3), "float32")}, folder / "model.safetensors")
    >>> read_checkpoint(folder).to_dict("records")
    [{'key': 'head.weight', 'dtype': 'F32', 'shape': (2, 3), 'shard': 'model.safetensors', 'bytes': 24}]
    """
    import pandas as pd

    rows: list[tuple[str, str, tuple[int, ...], str, int]] = []
    homes: dict[str, str] = {}
    shards, index = _find_shards(path)
    for shard in shards:
        for key, dtype, shape, size in _read_header(shard):
            if key in homes:
                _refuse(shard, f"the tensor {key!r} is in {homes[key]} too", hint="Keep one of the two files.")
            homes[key] = shard.name
            rows.append((key, dtype, shape, shard.name, size))
    for key, shard_name in index.items():
        if homes.get(key) != shard_name:
            _refuse(path, f"the index places {key!r} in {shard_name}, which does not hold it")
    return pd.DataFrame(rows, columns=["key", "dtype", "shape", "shard", "bytes"])


def _refuse(path: Path, what: str, *, hint: str = _FETCH) -> NoReturn:
    raise CheckpointError(f"{path}: {what}.", hint=hint)


def _find_shards(path: Path) -> tuple[list[Path], Mapping[str, str]]:
    """(the files to read, the index: key -> file name, empty where there is none)."""
    if path.is_file():
        if path.name.endswith(_INDEX_SUFFIX):
            return _read_index(path)
        if path.suffix in _UNREAD:
            _refuse(path, f"{_UNREAD[path.suffix]}, which triage does not open", hint=_SAFE_WAY)
        if path.suffix != ".safetensors":
            _refuse(path, "no safetensors file", hint="Name a .safetensors file, an index, or a folder of them.")
        return [path], {}
    if not path.is_dir():
        _refuse(path, "no such file or folder", hint="Name a .safetensors file, an index, or a folder of them.")
    indexes = sorted(path.glob(f"*{_INDEX_SUFFIX}"))
    if len(indexes) > 1:
        _refuse(path, f"it holds {len(indexes)} indexes", hint=f"Name one of them: {indexes[0]}.")
    if indexes:
        return _read_index(indexes[0])
    shards = sorted(path.glob("*.safetensors"))
    if not shards:
        other = next((_UNREAD[file.suffix] for file in sorted(path.iterdir()) if file.suffix in _UNREAD), None)
        held = f"it holds no safetensors file, only {other}" if other else "it holds no safetensors file"
        _refuse(path, held, hint=_SAFE_WAY if other else "Name the folder that the weights are in.")
    return [_check_inside(path, shard.name, named_by=path) for shard in shards], {}


def _read_index(path: Path) -> tuple[list[Path], Mapping[str, str]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        _refuse(path, f"it cannot be read ({error.strerror})", hint="Check the file and its permissions.")
    content = _parse_json(path, raw, what="the index")
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        _refuse(path, "its weight_map is not an object of file names")
    if not weight_map:
        _refuse(path, "its weight_map is empty")
    return [_check_inside(path.parent, name, named_by=path) for name in sorted(set(weight_map.values()))], weight_map


def _check_inside(folder: Path, name: str, *, named_by: Path) -> Path:
    """The file, which must lie in the folder. A snapshot of the Hub cache links to its own repository's blobs."""
    if os.path.basename(name) != name or not name.endswith(".safetensors"):
        _refuse(named_by, f"it names {name!r}, which is no safetensors file of its own folder")
    path = folder / name
    if not path.exists():
        _refuse(path, "the shard is missing", hint="Fetch the checkpoint again, whole.")
    home = folder.resolve()
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else home
    if path.resolve().parent not in {home, blobs}:
        _refuse(path, "a link that leaves the checkpoint", hint="Copy the file to where the link stands.")
    return path


def _parse_json(path: Path, raw: bytes, *, what: str) -> dict[str, Any]:
    def check_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            _refuse(path, f"{what} holds {twice!r} twice")
        return found

    try:
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=check_unique)
    except UnicodeDecodeError as error:
        _refuse(path, f"{what} is not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        _refuse(path, f"{what} is not JSON at character {error.pos} ({error.msg})")
    except (RecursionError, ValueError):  # nested too deep; an integer of more digits than Python converts
        _refuse(path, f"{what} is not JSON that a checkpoint could hold")
    if not isinstance(content, dict):
        _refuse(path, f"{what} is no JSON object")
    return content


def _read_header(path: Path) -> list[tuple[str, str, tuple[int, ...], int]]:
    """(key, dtype, shape, bytes) of each tensor of one file, in the order of the data."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _LENGTH_BYTES:
                _refuse(path, f"it has {size} bytes, too few for a header")
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > _HEADER_MAX_BYTES:
                _refuse(path, f"its header claims {length} bytes; the format allows {_HEADER_MAX_BYTES}")
            if _LENGTH_BYTES + length > size:
                _refuse(path, f"its header claims {length} bytes and the file ends {size - _LENGTH_BYTES} bytes in")
            raw = file.read(length)
    except OSError as error:
        _refuse(path, f"it cannot be read ({error.strerror})", hint="Check the file and its permissions.")
    if not raw.startswith(b"{"):
        _refuse(path, "its header does not begin with '{' at byte 8")
    header = _parse_json(path, raw, what="its header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(path, "its __metadata__ is not an object of strings")
    placed = sorted(
        ((*_check_entry(path, key, entry), key, entry) for key, entry in header.items()), key=lambda row: row[:2]
    )
    _check_coverage(path, [(key, begin, end) for begin, end, key, _ in placed], size - _LENGTH_BYTES - length)
    return [(key, entry["dtype"], tuple(entry["shape"]), end - begin) for begin, end, key, entry in placed]


def _check_entry(path: Path, key: str, entry: object) -> tuple[int, int]:
    """The begin and end of a tensor's data, in bytes from the end of the header."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        _refuse(path, f"the entry of {key!r} does not hold dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPE_BITS:
        _refuse(path, f"{key!r} has the unknown dtype {dtype!r}")
    if not isinstance(shape, list) or not all(_is_count(size) for size in shape):
        _refuse(path, f"{key!r} has the shape {shape!r}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        _refuse(path, f"{key!r} has the data_offsets {offsets!r}")
    begin, end = offsets
    bits = _DTYPE_BITS[dtype]
    for size in shape:
        bits *= size
        if bits >> 67:  # checked at every step: a hostile shape must not cost a product of a million factors
            _refuse(path, f"{key!r} has a shape of more values than a file can hold")
    if (end - begin) * 8 != bits:
        _refuse(path, f"{key!r} takes {end - begin} bytes at {begin}, but {dtype} {shape} takes {bits // 8}")
    return begin, end


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _check_coverage(path: Path, spans: list[tuple[str, int, int]], data_bytes: int) -> None:
    """The data must be covered without holes, overlaps or a rest: so the format says, and so files cannot hide data."""
    position, before = 0, "the header"
    for key, begin, end in spans:
        if begin != position:
            word = "overlaps" if begin < position else "leaves a hole after"
            _refuse(path, f"the data of {key!r} at {begin} {word} {before}, which ends at {position}")
        position, before = end, repr(key)
    if position > data_bytes:
        _refuse(path, f"it is truncated: the tensors take {position} bytes, the file holds {data_bytes}")
    if position < data_bytes:
        _refuse(path, f"{data_bytes - position} bytes after {before} belong to no tensor")
