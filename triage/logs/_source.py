"""Where logs come from: files, gzip and zstd files, folders of them, standard input; always a block at a time."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from triage.errors import LogError, MissingDependencyError

BLOCK_BYTES = 2 << 20
_LOG_NAMES = (".log", ".txt", ".xml", ".out", ".err", ".gz", ".zst", ".zstd")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# What would be read as noise without a failure, and is none.
_OTHER = {
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zX": "an xz file",
    b"BZh": "a bzip2 file",
    b"7z\xbc\xaf": "a 7z archive",
}


def list_logs(paths: Sequence[str]) -> list[str]:
    """The logs that the paths name, ``-`` for standard input; of a folder, everything below it that has a log's name.

    Raises one `LogError` that names every path which does not exist, and every folder without a log.
    """
    logs: list[str] = []
    problems = []
    for path in paths:
        if path == "-" or not os.path.isdir(path):
            if path != "-" and not os.path.exists(path):
                problems.append(f"{path} does not exist")
            logs.append(path)
            continue
        found = sorted(str(p) for p in Path(path).rglob("*") if p.suffix in _LOG_NAMES and p.is_file())
        if not found:
            problems.append(f"{path} is a folder without a log ({', '.join(_LOG_NAMES)})")
        logs += found
    if problems:
        raise LogError(f"{'; '.join(problems)}.", hint="Name a log, a folder of logs, or - for standard input.")
    return logs


def read_blocks(
    path: str, *, block_bytes: int = BLOCK_BYTES, on_cut: Callable[[], None] | None = None
) -> Iterator[bytes]:
    """The bytes of a log, unpacked, in blocks of at most ``block_bytes``.

    What is packed is known by its first bytes, whatever its name. A bomb is never held: one block at a time leaves the
    unpacker. A packed log that ends early, or is damaged, yields what there is, and ``on_cut`` is called. Raises
    `LogError` where it cannot be read, or is packed in a way that is none of a log's.
    """
    try:
        with _open(path) as file:
            yield from _read_packed(path, file, block_bytes, on_cut)
    except OSError as error:
        raise LogError(f"{path} cannot be read ({error.strerror or error}).", hint="Name another log.") from error


@contextmanager
def _open(path: str) -> Iterator[io.BufferedReader]:
    if path == "-":
        yield cast(io.BufferedReader, sys.stdin.buffer)
        return
    if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISFIFO(mode) and not stat.S_ISCHR(mode):
        raise LogError(f"{path} is no file.", hint="Name a log, a folder of logs, or - for standard input.")
    with open(path, "rb") as file:
        yield file


def _read_packed(
    path: str, file: io.BufferedReader, block_bytes: int, on_cut: Callable[[], None] | None
) -> Iterator[bytes]:
    head = file.peek(4)[:4]
    other = next((what for start, what in _OTHER.items() if head.startswith(start)), None)
    if other:
        raise LogError(f"{path} is {other}, not a log.", hint="Unpack it, and name the log or the folder.")
    unpacked: IO[bytes] = file
    if head.startswith(_GZIP):
        unpacked = cast(IO[bytes], gzip.GzipFile(fileobj=file))
    elif head == _ZSTD:
        unpacked = _open_zstd(file)
    broken: tuple[type[BaseException], ...] = (EOFError, zlib.error, gzip.BadGzipFile, *_zstd_errors(head))
    ended = False
    while not ended:
        pieces, size = [], 0
        while size < block_bytes and not ended:
            try:
                piece = unpacked.read1(block_bytes - size)  # type: ignore[attr-defined]
            except broken:
                piece = b""
                if on_cut:
                    on_cut()
            ended = not piece
            pieces.append(piece)
            size += len(piece)
        if size:
            yield b"".join(pieces) if len(pieces) > 1 else pieces[0]


def _open_zstd(file: io.BufferedReader) -> IO[bytes]:
    return cast(IO[bytes], _import_zstd().ZstdFile(file))


def _zstd_errors(head: bytes) -> tuple[type[Exception], ...]:
    return (_import_zstd().ZstdError,) if head == _ZSTD else ()


def _import_zstd() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise MissingDependencyError(
            "Reading .zst logs needs backports.zstd.", hint="Install it: pip install backports.zstd"
        ) from error
    return zstd
