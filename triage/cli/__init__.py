"""The `triage` command: parses, calls, prints, exits; nothing else. One module for each command.

Data goes to stdout, everything else to stderr. Exit codes: 0 conclusive, 1 ``--expect`` not met, 2 bad usage or
input, 3 inconclusive or infra, 4 incomplete. Heavy imports stay inside the commands: ``triage --help`` is quick.
"""

from triage.cli._app import app, main
from triage.cli._run import choose_exit_code

__all__ = ["app", "choose_exit_code", "main"]
