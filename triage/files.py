"""Files that are whole at every moment: a reader sees the old text or the new one, never a part."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import IO

from triage.errors import InputError, StorageError

_NO_UNNAMED_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file beside the old one: written, flushed, then renamed.

    Where the file system can, it has no name until it is whole, so that a process that is killed while it writes leaves
    nothing behind. Raises `OSError`; the old file, if any, then still stands, and no temporary one is left.
    """
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in _NO_UNNAMED_FILES:
            raise
        _replace_through_name(path, data)
        return
    with os.fdopen(descriptor, "wb") as file:
        _write(file, data)
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
        # With a directory's descriptor Python follows the link of /proc; with none it would link the link itself.
        os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=descriptor)
    _rename(temporary, path)


def _replace_through_name(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o666 & ~_read_umask())  # mkstemp's 0600 would hide a report from colleagues
            _write(file, data)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _rename(Path(name), path)


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _rename(temporary: Path, path: Path) -> None:
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes text (UTF-8) or bytes so that the file is whole at every moment.

    Raises `StorageError` where the disk is full or the folder may not be written.

    >>> folder = Path(tempfile.mkdtemp())
    >>> write_atomic(folder / "result.json", "{}")
    >>> [entry.name for entry in folder.iterdir()]
    ['result.json']
    """
    try:
        replace_file(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror or error}).",
            hint="Free some space, or name another folder with --out.",
        ) from error


def make_folder(path: Path) -> Path:
    """Makes a folder and its parents. Raises `InputError` if a file is in the way, `StorageError` for the rest.

    >>> make_folder(Path(tempfile.mkdtemp()) / "reports" / "case").is_dir()
    True
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next(p for p in (path, *path.parents) if p.exists())
        raise InputError(f"{file} is a file, not a folder.", hint="Name another folder with --out.") from error
    except OSError as error:
        raise StorageError(
            f"The folder {path} cannot be made ({error.strerror or error}).",
            hint="Free some space, or name another folder with --out.",
        ) from error
    return path


def find_cache() -> Path:
    """The cache folder: ``TRIAGE_CACHE`` where it is set, else the user's cache. It need not exist yet.

    >>> find_cache().is_absolute()
    True
    """
    import platformdirs  # whoever only writes a file need not wait for it

    return Path(os.environ.get("TRIAGE_CACHE") or platformdirs.user_cache_path("triage")).absolute()


def _read_umask() -> int:
    """The umask without changing it: os.umask can only be read by setting it, which other threads would see."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0o022
    return next((int(line.split()[1], 8) for line in status.splitlines() if line.startswith("Umask:")), 0o022)
