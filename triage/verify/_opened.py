"""Which of some files a run opens: the kernel tells, whatever the program and its language (inotify(7))."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_IN_OPEN = 0x20
_EVENT = struct.Struct("iIII")
_BLOCK_BYTES = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class OpenedFiles:
    """Watches files while a ``with`` block runs; `read` says which of them were opened.

    ``why_not`` says why nobody can tell, where the kernel gives no watch.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file, OpenedFiles([Path(file.name)]) as opened:
    ...     _ = Path(file.name).read_bytes()
    ...     [path.name for path in opened.read()] == [Path(file.name).name]
    True
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.why_not: str | None = None
        self._paths: dict[int, Path] = {}
        self._found: dict[Path, None] = {}
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            self.why_not = os.strerror(ctypes.get_errno())
            return
        for path in paths:
            watch = _libc.inotify_add_watch(self._fd, os.fsencode(path), _IN_OPEN)
            if watch < 0:
                self.why_not = os.strerror(ctypes.get_errno())
            else:
                self._paths[watch] = path

    def read(self) -> list[Path]:
        """The files that have been opened so far, in the order of their first opening."""
        while self._fd >= 0:
            try:
                block = os.read(self._fd, _BLOCK_BYTES)
            except BlockingIOError:
                break
            at = 0
            while at < len(block):
                watch, _, _, length = _EVENT.unpack_from(block, at)
                at += _EVENT.size + length
                if watch in self._paths:
                    self._found[self._paths[watch]] = None
        return list(self._found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
