"""The `triage` command: parses, calls, prints, exits; nothing else. One module for each command.

Data goes to stdout, everything else to stderr. Exit codes: 0 conclusive, 1 ``--expect`` not met, 2 bad usage or
input, 3 inconclusive or infra, 4 incomplete. Heavy imports stay inside the commands: ``triage --help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triage.cli._app import app
    from triage.cli._run import choose_exit_code

__all__ = ["app", "choose_exit_code", "main"]

_HOME = {"app": "_app", "choose_exit_code": "_run"}


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: runs a command and exits with its code; every error is a sentence on stderr."""
    from triage.cli._quick import run_quickly

    code = run_quickly(sys.argv[1:] if arguments is None else arguments)
    if code is not None:
        sys.exit(code)
    from triage.cli._app import run_main

    run_main(arguments)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"triage.cli.{_HOME[name]}"), name)
    raise AttributeError(f"module 'triage.cli' has no attribute {name!r}")
