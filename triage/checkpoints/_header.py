"""Reads the header of one safetensors file, and not a byte of its data."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from triage.checkpoints._refuse import FETCH_AGAIN, FETCH_WHOLE, SAFE_WAY, refuse
from triage.checkpoints._scan import Scanner
from triage.checkpoints._strict import read_strictly
from triage.checkpoints._tensor import Tensor

_LENGTH_BYTES = 8
_HEADER_MAX_BYTES = 100_000_000  # the format's own limit
_FIRST_READ_BYTES = 1 << 16  # holds most headers whole
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}
# First bytes of what is often met under a wrong name, and the mend.
_MAGIC = {
    b"GGUF": ("a GGUF file, which triage does not open", SAFE_WAY),
    b"PK\x03\x04": ("a pickle in a zip file (torch.save), which triage never opens", SAFE_WAY),
    b"\x80\x02": ("a pickle, which triage never opens", SAFE_WAY),
    b"\x80\x03": ("a pickle, which triage never opens", SAFE_WAY),
    b"\x80\x04": ("a pickle, which triage never opens", SAFE_WAY),
    b"\x80\x05": ("a pickle, which triage never opens", SAFE_WAY),
    b"version ": ("a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull."),
    b"<!DOCTYP": ("a web page, not the file itself", FETCH_AGAIN),
}


def read_header(path: Path, scanner: Scanner, *, target: Path | None = None) -> dict[str, Tensor]:
    """The tensors of a file by key, in the order of their data.

    ``target`` is where a link leads that was found to be harmless; the refusal names ``path``. The last part of the
    target is not followed again. Raises `CheckpointError` for whatever is not whole.
    """
    raw, data_bytes = _read_raw(path, target or path)
    tensors = scanner.scan(raw, data_bytes=data_bytes)
    return read_strictly(path, raw, data_bytes=data_bytes) if tensors is None else tensors


def read_small_file(path: Path, *, target: Path | None = None, max_bytes: int) -> bytes:
    """The whole content of a file such as an index. Raises `CheckpointError`, for one that is too large as well."""
    descriptor, size = _open(path, target or path)
    with os.fdopen(descriptor, "rb") as file:
        if size > max_bytes:
            refuse(path, f"it has {size} bytes; such a file has {max_bytes} at most")
        try:
            return file.read()
        except OSError as error:
            refuse(path, f"it cannot be read ({error.strerror})", hint="Check the disk.")


def _open(path: Path, target: Path) -> tuple[int, int]:
    """A descriptor of a regular file, and its size. Whatever else is there is not opened, and nothing is waited for."""
    try:
        status = os.stat(target)
        for is_kind, word in _KINDS.items():
            if is_kind(status.st_mode):
                refuse(path, f"it is {word}, not a file", hint="Name a safetensors file, an index, or a folder.")
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        refuse(path, "the file is missing", hint=FETCH_WHOLE)
    except OSError as error:
        refuse(path, f"it cannot be read ({error.strerror})", hint="Check the file and its permissions.")
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        refuse(path, "it changed while it was opened", hint="Run it again when nothing writes there.")
    return descriptor, status.st_size


def _read_raw(path: Path, target: Path) -> tuple[bytes, int]:
    """(the header, the bytes that follow it)."""
    descriptor, size = _open(path, target)
    try:
        raw = _read_bytes(descriptor, min(size, _FIRST_READ_BYTES))
        length = int.from_bytes(raw[:_LENGTH_BYTES], "little")
        whole = _LENGTH_BYTES + length
        _check_length(path, raw, length, size)
        if whole > len(raw):
            raw += _read_bytes(descriptor, whole - len(raw))
    except OSError as error:
        refuse(path, f"it cannot be read ({error.strerror})", hint="Check the disk.")
    finally:
        os.close(descriptor)
    if len(raw) < whole:
        refuse(path, "it became shorter while it was read", hint="Run it again when nothing writes there.")
    header = raw[_LENGTH_BYTES:whole]
    if not header.startswith(b"{"):
        refuse(path, "its header does not begin with '{' at byte 8")
    return header, size - whole


def _read_bytes(descriptor: int, count: int) -> bytes:
    """``count`` bytes, or fewer at the end of the file: one call of the system may give less than was asked for."""
    parts = []
    while count and (part := os.read(descriptor, count)):
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_length(path: Path, raw: bytes, length: int, size: int) -> None:
    if length <= _HEADER_MAX_BYTES and _LENGTH_BYTES + length <= size:
        return
    for magic, (what, hint) in _MAGIC.items():
        if raw.startswith(magic):
            refuse(path, what, hint=hint)
    if size < _LENGTH_BYTES:
        refuse(path, f"it has {size} bytes, too few for a header")
    if length > _HEADER_MAX_BYTES:
        refuse(path, f"its header claims {length} bytes; the format allows {_HEADER_MAX_BYTES}")
    refuse(path, f"its header claims {length} bytes and the file ends {size - _LENGTH_BYTES} bytes in")
