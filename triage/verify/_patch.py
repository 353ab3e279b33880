"""A patch: what it is, which files it touches, and putting it onto a copy."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from triage.errors import InputError
from triage.verify._git import run_git

_FROM = re.compile(r"^rename from (.+)$", re.MULTILINE)
_PREFIXED = re.compile(rb"^(?:--- a/|\+\+\+ b/|diff --git [a-z]/\S+ [a-z]/)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A patch file. ``files`` are the paths that it touches, without the ``a/`` and ``b/`` of git where it has them."""

    path: Path
    sha256: str
    files: tuple[str, ...]
    strip: int


def read_patch(path: Path) -> Patch:
    """Reads a patch in git's or diff's unified format.

    Raises one `InputError` for a file that is no patch, and one that names every path which leaves the tree.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}).", hint="Name a patch: git diff > fix.diff"
        ) from error
    if not data.strip():
        raise InputError(f"{path} is empty.", hint="Write it anew: git diff > fix.diff")
    path = path.absolute()
    strip = 1 if _PREFIXED.search(data) else 0
    with tempfile.TemporaryDirectory(prefix="triage-") as empty:
        folder = Path(empty)
        try:
            told = run_git("apply", f"-p{strip}", "--numstat", "-z", path, folder=folder, ceiling=folder.parent)
        except InputError as error:
            raise InputError(
                f"{path} is no patch ({error.message.removeprefix('git apply: ').rstrip('.')}).",
                hint="Write it with git diff or diff -u.",
            ) from None
    names = [entry.split("\t", 2)[2] for entry in told.split("\0") if entry.count("\t") >= 2]
    names += [name for name in _FROM.findall(data.decode(errors="replace")) if name not in names]
    absolute = re.findall(rb"^(?:---|\+\+\+) (/(?!dev/null)\S+)", data, re.MULTILINE)
    outside = [name for name in names if name.startswith("/") or ".." in PurePosixPath(name).parts]
    if outside := list(dict.fromkeys([*outside, *(name.decode(errors="replace") for name in absolute)])):
        raise InputError(
            f"{path} names paths outside the tree: {', '.join(outside)}.",
            hint="Write it in the root of the repository: git diff > fix.diff",
        )
    return Patch(path=path, sha256=hashlib.sha256(data).hexdigest(), files=tuple(names), strip=strip)


def apply_patch(patch: Patch, folder: Path, *, exclude: tuple[str, ...] = (), reverse: bool = False) -> None:
    """Puts a patch onto a folder, whole or not at all. Raises `InputError` where it does not apply.

    ``exclude`` are files of it that the folder is not to have.
    """
    words = [f"-p{patch.strip}", *(f"--exclude={name}" for name in exclude), *(["--reverse"] if reverse else [])]
    try:
        run_git("apply", "--whitespace=nowarn", *words, patch.path, folder=folder, ceiling=folder.parent)
    except InputError as error:
        raise InputError(
            f"{patch.path} does not apply: {error.message.removeprefix('git apply: ').rstrip('.')}.",
            hint="Make it anew on the code that the base runs.",
        ) from None
