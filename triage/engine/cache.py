"""Where triage keeps what it has built or fetched: tiny checkpoints, historical versions."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from triage.errors import StorageError

_MOMENT_S = 5.0
_HINT = "Set TRIAGE_CACHE to another folder."


def build_whole(folder: Path, build: Callable[[Path], None]) -> None:
    """Builds under a temporary name beside the target: a folder in the cache is always whole.

    Where another process has built the same in the meantime, its folder stays. What a killed process left half built is
    removed by the next one that builds the same. Raises `StorageError`.
    """
    prefix = f".{folder.name}-"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent, prefix)
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        held = _hold(work)
    except OSError as error:
        raise StorageError(f"The cache {folder.parent} cannot be written ({error.strerror}).", hint=_HINT) from error
    try:
        build(work)
        work.rename(folder)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return
        if error.errno is None:  # not the disk: a library that does not load, say
            raise
        raise StorageError(f"{folder} could not be built ({error.strerror}).", hint=_HINT) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if held is not None:
            os.close(held)


def _hold(folder: Path) -> int | None:
    """A lock on a folder, which the system lets go when its process dies; None where somebody else has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """What nobody holds, nobody builds any more. A folder is made a moment before it is held: that moment is left."""
    for work in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # another process was faster
            if time.time() - work.stat().st_mtime > _MOMENT_S and (held := _hold(work)) is not None:
                shutil.rmtree(work, ignore_errors=True)
                os.close(held)
