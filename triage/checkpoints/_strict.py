"""Judges a header whatever its style: slow, exact, and the author of every refusal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from triage.checkpoints._refuse import quote, refuse
from triage.checkpoints._tensor import DTYPE_BITS, LARGEST, Tensor, count_bits

_MAX_DEPTH = 127  # safetensors' own parser goes no deeper


def parse_object(path: Path, raw: bytes, *, what: str) -> dict[str, Any]:
    """The JSON object that a file holds; ``what`` names the part of the file, for the refusal.

    Stricter than `json`: no duplicate key, no number that is none, no half of a surrogate pair.
    """

    def check_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            refuse(path, f"{what} holds {quote(twice)} twice")
        return found

    try:
        text = raw.decode("utf-8")
        content = json.loads(
            text,
            object_pairs_hook=check_unique,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
        )
        if "\\u" in text:
            json.dumps(content, ensure_ascii=False).encode()
        deepest = _measure_depth(content)
    except UnicodeDecodeError as error:
        refuse(path, f"{what} is not UTF-8 at byte {error.start}")
    except UnicodeEncodeError:
        refuse(path, f"{what} holds half of a surrogate pair, which is no character")
    except json.JSONDecodeError as error:
        refuse(path, f"{what} is not JSON at character {error.pos} ({error.msg})")
    except (RecursionError, ValueError):  # nested too deep; a number that no file can mean
        refuse(path, f"{what} is not JSON that a checkpoint could hold")
    if not isinstance(content, dict):
        refuse(path, f"{what} is no JSON object")
    if deepest > _MAX_DEPTH:
        refuse(path, f"{what} is not JSON that a checkpoint could hold")
    return content


def _refuse_constant(word: str) -> float:
    raise ValueError(word)


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def _measure_depth(content: object) -> int:
    """How deep lists and objects are nested; no recursion, as the depth is the sender's choice."""
    depth, level = 0, [content]
    while level := [entry for entry in level if isinstance(entry, (dict, list))]:
        depth += 1
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return depth


def read_strictly(path: Path, raw: bytes, *, data_bytes: int) -> dict[str, Tensor]:
    """The tensors of a header in the order of their data, which takes ``data_bytes``. Raises `CheckpointError`."""
    header = parse_object(path, raw, what="its header")
    check_metadata(path, header.pop("__metadata__", None))
    placed = sorted(((*_check_entry(path, key, entry), key) for key, entry in header.items()), key=lambda row: row[:2])
    _check_coverage(path, [(key, begin, end) for begin, end, _, key in placed], data_bytes)
    return {key: tensor for _, _, tensor, key in placed}


def check_metadata(path: Path, metadata: object) -> None:
    """The format allows text under ``__metadata__``, and nothing else. None means that there is none."""
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        refuse(path, "its __metadata__ is not an object of strings")


def _check_entry(path: Path, key: str, entry: object) -> tuple[int, int, Tensor]:
    """The begin and end of a tensor's data, in bytes from the end of the header, and the tensor."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        refuse(path, f"the entry of {quote(key)} does not hold dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        refuse(path, f"{quote(key)} has the unknown dtype {quote(dtype)}")
    if not isinstance(shape, list) or not all(_is_count(size) for size in shape):
        refuse(path, f"{quote(key)} has the shape {quote(shape)}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        refuse(path, f"{quote(key)} has the data_offsets {quote(offsets)}")
    begin, end = offsets
    bits = count_bits(dtype, tuple(shape))
    if bits is None:
        refuse(path, f"{quote(key)} has a shape of more values than a file can hold")
    if (end - begin) * 8 != bits:
        taken = f"{bits // 8}" if bits % 8 == 0 else f"{bits / 8}"
        refuse(path, f"{quote(key)} takes {end - begin} bytes at {begin}, but {dtype} {quote(shape)} takes {taken}")
    return begin, end, Tensor(dtype, tuple(shape), end - begin)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _check_coverage(path: Path, spans: list[tuple[str, int, int]], data_bytes: int) -> None:
    """The data must be covered without holes, overlaps or a rest: so the format says, and so files cannot hide data."""
    position, before = 0, "the header"
    for key, begin, end in spans:
        if begin != position:
            word = "overlaps" if begin < position else "leaves a hole after"
            refuse(path, f"the data of {quote(key)} at {begin} {word} {before}, which ends at {position}")
        position, before = end, quote(key)
    if position > data_bytes:
        refuse(path, f"it is truncated: the tensors take {position} bytes, the file holds {data_bytes}")
    if position < data_bytes:
        refuse(path, f"{data_bytes - position} bytes after {before} belong to no tensor")
