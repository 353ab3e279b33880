"""Lets every Python process of a watched command dump its stacks on a signal, where nobody may look from outside.

Python runs this file at start-up because `triage.hangs.prepare_stacks` puts its folder first on the PYTHONPATH of the
command. It hands over to whatever sitecustomize stands behind it on the path, each once: another one that hands over in
the same way may come back here.
"""

import atexit
import faulthandler
import importlib.util
import os
import signal
import sys
from importlib.machinery import PathFinder

_FOLDER = os.environ.get("TRIAGE_STACKS_FOLDER")
_SIGNAL = int(os.environ.get("TRIAGE_STACKS_SIGNAL", "0"))
_HERE = os.path.realpath(os.path.dirname(__file__))
_open_files: list[int] = []


def register() -> None:
    """Opens this process's file and gives faulthandler its descriptor, which stays open for good."""
    path = os.path.join(str(_FOLDER), str(os.getpid()))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        faulthandler.register(_SIGNAL, file=descriptor, all_threads=True, chain=False)
    except OSError:  # the folder is gone or full: the command goes on without
        return
    for old in _open_files:  # of the parent, before a fork
        os.close(old)
    _open_files[:] = [descriptor]
    # The signal may have been blocked by whoever started this process.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [_SIGNAL])


def forget() -> None:
    """Takes an unused file away when the process ends in order."""
    path = os.path.join(str(_FOLDER), str(os.getpid()))
    try:
        if os.path.getsize(path) == 0:
            os.unlink(path)
    except OSError:
        return


def run_shadowed() -> None:
    """Runs the next sitecustomize behind this one on the path; those before it have had their turn.

    How far it has come is kept for the case that the next one comes back here.
    """
    path = [os.path.realpath(entry or ".") for entry in sys.path]
    done = {_HERE, *getattr(sys, "_triage_sitecustomized", ())}
    for entry in path[path.index(_HERE) + 1 if _HERE in path else 0 :]:
        if entry in done:
            continue
        spec = PathFinder.find_spec("sitecustomize", [entry])
        if spec is not None and spec.loader is not None and spec.origin is not None:
            sys._triage_sitecustomized = (*done, entry)  # type: ignore[attr-defined]
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
            return


if __name__ == "sitecustomize":
    if _FOLDER and _SIGNAL and not hasattr(sys, "_triage_sitecustomized"):
        sys._triage_sitecustomized = (_HERE,)  # type: ignore[attr-defined]
        register()
        os.register_at_fork(after_in_child=register)
        atexit.register(forget)
    run_shadowed()
