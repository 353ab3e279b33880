"""What can be said of a command before it starts: one sentence for each thing that is wrong."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from triage.errors import InputError
from triage.files import make_folder
from triage.hangs._state import RECORD_NAME

_SCRIPT_BYTES = 256  # of a first line the kernel reads no more (BINPRM_BUF_SIZE)
_ELF = b"\x7fELF"


def check_limit(name: str, seconds: float) -> None:
    """Raises `InputError` for a limit that is not a finite number of seconds above zero."""
    if not math.isfinite(seconds) or seconds <= 0:
        raise InputError(f"{name} is {seconds:g}.", hint="Give a number of seconds above zero.")


def check_command(command: Sequence[str], *, env: Mapping[str, str] | None, cwd: Path | None) -> None:
    """Raises `InputError` for a command that does not exist or may not be run, as its own PATH has it."""
    if not command or not command[0]:
        raise InputError("There is no command to watch.", hint="Give it after two dashes: triage watch -- pytest …")
    name = command[0]
    if any("\0" in word for word in command):
        raise InputError("A word of the command holds a NUL character.", hint="Leave it out.")
    folder = Path(cwd or ".")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", hint="Name another one to run the command in.")
    path = (os.environ if env is None else env).get("PATH", os.defpath)
    if "/" in name:
        _check_file(name, folder / name)
        return
    # A relative entry of PATH is meant from where the command runs.
    found = [file for place in path.split(os.pathsep) if (file := folder / place / name).is_file()]
    if not found:
        raise InputError(f"There is no command {name!r} in PATH.", hint="Check its name, or give its path.")
    _check_file(name, next((file for file in found if os.access(file, os.X_OK)), found[0]))


def _check_file(name: str, path: Path) -> None:
    try:
        path.stat()
    except PermissionError as error:
        raise InputError(f"{name} may not be looked at ({error.strerror}).", hint="Ask for the permission.") from error
    except OSError as error:
        raise InputError(f"There is no command {name!r} ({error.strerror}).", hint="Check its path.") from error
    if path.is_dir():
        raise InputError(f"{name} is a folder, not a command.", hint="Give a program after the two dashes.")
    if not os.access(path, os.X_OK):
        raise InputError(f"{name} may not be run.", hint=f"Give it the permission: chmod +x {name}")
    _check_first_line(name, path)


def _check_first_line(name: str, path: Path) -> None:
    """A script names the program that runs it; a shell would try itself on one that does not, the kernel refuses."""
    try:
        with path.open("rb") as file:
            start = file.read(_SCRIPT_BYTES)
    except OSError:  # it may be run and not read
        return
    if start.startswith(b"#!"):
        words = start[2:].split(b"\n", 1)[0].split()
        interpreter = os.fsdecode(words[0]) if words else ""
        if not interpreter or (interpreter.startswith("/") and not os.access(interpreter, os.X_OK)):
            raise InputError(
                f"{name} names {interpreter or 'nothing'} to run it, which is not there or may not be run.",
                hint="Mend its first line, or name the program before it.",
            )
    elif b"\0" not in start and not start.startswith(_ELF):
        raise InputError(
            f"{name} is a text that does not name the program that runs it.",
            hint=f"Begin it with #!/bin/sh, or name the program: triage watch -- sh {name}",
        )


def prepare_folder(folder: Path) -> Path:
    """Makes the folder of the record and tries it. Raises `InputError` where nothing can be written there."""
    from triage.errors import StorageError

    try:
        make_folder(folder)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{RECORD_NAME}.", suffix=".tmp") as file:
            file.write(b" " * 4096)
            file.flush()
    except StorageError as error:
        raise InputError(error.message, hint=error.hint) from error
    except OSError as error:
        raise InputError(
            f"Nothing can be written to {folder} ({error.strerror or error}).",
            hint="Free some space, or name another folder with --out.",
        ) from error
    if (folder / RECORD_NAME).is_dir():
        raise InputError(f"{folder / RECORD_NAME} is a folder.", hint="Name another folder with --out.")
    return folder
