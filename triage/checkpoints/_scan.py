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


class _Kinds:
    """What stands between a key and its offsets: type and shape. A model has few of them, so each is read once."""

    def __init__(self, space: str) -> None:
        self.space = space
        self.known: dict[
            str, tuple[Tensor, int]
        ] = {}  # with the bytes once more: a plain tuple is quicker to take apart
        self._pattern = re.compile(
            rf':{space}\{{"dtype":{space}"([A-Z0-9_]+)",{space}"shape":{space}\[({_NUMBERS.format(space=space)})'
        )

    def learn(self, text: str) -> tuple[Tensor, int]:
        """Reads a text that was not met before. Raises `_InDoubtError` for one of another style."""
        match = self._pattern.fullmatch(text)
        if match is None or match[1] not in DTYPE_BITS:
            raise _InDoubtError
        shape = tuple(map(int, filter(None, match[2].split(","))))
        bits = count_bits(match[1], shape)
        if bits is None or bits % 8:
            raise _InDoubtError
        found = self.known[text] = (Tensor(match[1], shape, bits // 8), bits // 8)
        return found


@dataclass(kw_only=True)
class Scanner:
    """Reads any number of headers; remembers the types and shapes that it has met."""

    _kinds: dict[str, _Kinds] = field(default_factory=lambda: {space: _Kinds(space) for space in ("", " ")})

    def scan(self, raw: bytes, tensors: dict[str, Tensor], *, data_bytes: int) -> bool:
        """Adds the tensors of a header to others, in the order of their data, which takes ``data_bytes``.

        False where in doubt, as of a key that is there already; no key is added then.

        >>> raw, found = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', {}
        >>> Scanner().scan(raw, found, data_bytes=9), Scanner().scan(raw, found, data_bytes=8), found
        (False, True, {'a': Tensor(dtype='F32', shape=(2,), bytes=8)})
        """
        before = len(tensors)
        try:
            text = _skip_metadata(str(raw, "utf-8"))
            if "\\" not in text and len(raw.translate(None, _CONTROLS)) == len(raw):
                space = " " if text.startswith('": ', text.find('"', 2)) else ""
                count = _cut(text, tensors, self._kinds[space], data_bytes)
                if len(tensors) == before + count and "__metadata__" not in tensors:
                    return True
        except (_InDoubtError, ValueError, RecursionError):  # no UTF-8, no JSON, a piece with too few quotes
            pass
        while len(tensors) > before:
            tensors.popitem()
        return False


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
    begin = end + (2 if text.startswith(", ", end) else 1)
    if not (text.startswith(",", end) and text.startswith('"', begin)):
        raise _InDoubtError
    return "{" + text[begin:]


def _cut(text: str, tensors: dict[str, Tensor], kinds: _Kinds, data_bytes: int) -> int:
    """Adds what the text holds and says how much it was. Raises `_InDoubtError` or `ValueError` half way."""
    space, known = kinds.space, kinds.known
    pieces = text.split(f'],{space}"data_offsets":{space}[')
    last = pieces.pop()
    position, begin, before = 0, "0", "{"
    comma, close = f",{space}", f"]}},{space}"
    for piece in pieces:
        offsets, key, kind = piece.split('"', 2)
        if offsets != before:
            raise _InDoubtError
        tensors[key], size = known.get(kind) or kinds.learn(kind)
        position += size
        end = str(position)
        before = f"{begin}{comma}{end}{close}"
        begin = end
    closed = f"{before.removesuffix(close)}]}}}}" if pieces else "{}"
    if last.rstrip(" ") != closed or position != data_bytes:
        raise _InDoubtError
    return len(pieces)
