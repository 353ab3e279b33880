"""Reads a header as safetensors and `json` write it, several times faster than a parser.

Nearly every header is written by one of two programs, character for character alike but for names and numbers. Such a
text is cut at its fixed words; the rest is written again from what was cut out, and must be the same. So what this
module accepts is exactly such a header, without a duplicate key, a foreign field, a hole or an overlap. Anything else
it leaves to `triage.checkpoints._strict`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from triage.checkpoints._tensor import DTYPE_BITS, Tensor, count_bits

_CONTROLS = bytes(range(32))
_NUMBERS = r"(?:(?:0|[1-9][0-9]{{0,19}})(?:,{space}(?:0|[1-9][0-9]{{0,19}}))*)?"
_METADATA = '{"__metadata__":'


class _InDoubtError(Exception):
    """The text is not of the style that is read here; whether it is valid is for the strict reader to say."""


class _UniquePairs(dict[str, Any]):
    """An object of JSON, which must not hold a key twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        if len(self) != len(pairs):
            raise _InDoubtError


_DECODER = json.JSONDecoder(object_pairs_hook=_UniquePairs)


class _Kinds(dict[str, Tensor]):
    """What stands between a key and its offsets: type and shape. A model has few of them, so each is read once."""

    def __init__(self, space: str) -> None:
        super().__init__()
        self._pattern = re.compile(
            rf':{space}\{{"dtype":{space}"([A-Z0-9_]+)",{space}"shape":{space}\[({_NUMBERS.format(space=space)})'
        )

    def __missing__(self, text: str) -> Tensor:
        match = self._pattern.fullmatch(text)
        if match is None or match[1] not in DTYPE_BITS:
            raise _InDoubtError
        shape = tuple(map(int, filter(None, match[2].split(","))))
        bits = count_bits(match[1], shape)
        if bits is None or bits % 8:
            raise _InDoubtError
        tensor = self[text] = Tensor(match[1], shape, bits // 8)
        return tensor


@dataclass(kw_only=True)
class Scanner:
    """Reads any number of headers; remembers the types and shapes that it has met."""

    _kinds: dict[str, _Kinds] = field(default_factory=lambda: {space: _Kinds(space) for space in ("", " ")})

    def scan(self, raw: bytes, *, data_bytes: int) -> dict[str, Tensor] | None:
        """The tensors of a header in the order of their data, which takes ``data_bytes``; None where in doubt.

        >>> raw = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
        >>> Scanner().scan(raw, data_bytes=8), Scanner().scan(raw, data_bytes=9)
        ({'a': Tensor(dtype='F32', shape=(2,), bytes=8)}, None)
        """
        try:
            text = _skip_metadata(str(raw, "utf-8"))
            if "\\" in text or len(raw.translate(None, _CONTROLS)) != len(raw):
                return None
            space = " " if text.startswith('": ', text.find('"', 2)) else ""
            return _cut(text, self._kinds[space], space, data_bytes)
        except (_InDoubtError, ValueError, RecursionError):  # no UTF-8, no JSON, a piece with too few quotes
            return None


def _skip_metadata(text: str) -> str:
    """The header without its metadata, where that comes first; where it comes later, its entry is no tensor's."""
    if not text.startswith(_METADATA):
        return text
    start = len(_METADATA)
    start += text.startswith(" ", start)
    metadata, end = _DECODER.raw_decode(text, start)
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _InDoubtError
    json.dumps(metadata, ensure_ascii=False).encode()  # half of a surrogate pair is a ValueError
    if text.startswith("}", end):
        return "{" + text[end:]
    end += 2 if text.startswith(", ", end) else 1
    if text[end - 1] not in ", " or not text.startswith('"', end):
        raise _InDoubtError
    return "{" + text[end:]


def _cut(text: str, kinds: _Kinds, space: str, data_bytes: int) -> dict[str, Tensor]:
    pieces = text.split(f'],{space}"data_offsets":{space}[')
    last = pieces.pop()
    tensors: dict[str, Tensor] = {}
    position, begin, before = 0, "0", "{"
    comma, close = f",{space}", f"]}},{space}"
    for piece in pieces:
        offsets, key, kind = piece.split('"', 2)
        if offsets != before:
            raise _InDoubtError
        tensors[key] = tensor = kinds[kind]
        position += tensor.bytes
        end = str(position)
        before = f"{begin}{comma}{end}{close}"
        begin = end
    closed = f"{before.removesuffix(close)}]}}}}" if pieces else "{}"
    if last.rstrip(" ") != closed or len(tensors) != len(pieces) or position != data_bytes:
        raise _InDoubtError
    if "__metadata__" in tensors:
        raise _InDoubtError
    return tensors
