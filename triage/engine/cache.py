"""Where triage keeps what it has built or fetched: tiny checkpoints, historical versions."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from triage.errors import StorageError

_HINT = "Set TRIAGE_CACHE to another folder."


def build_whole(folder: Path, build: Callable[[Path], None]) -> None:
    """Builds under a temporary name beside the target: a folder in the cache is always whole.

    Where another process has built the same in the meantime, its folder stays. Raises `StorageError`.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
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
