"""Where the log of a server goes: beside the report that started it, or to a temporary file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

LOGS_VARIABLE = "TRIAGE_LOGS"


def new_log_path(name: str) -> Path:
    """A new file for the log of a server, in the folder that ``TRIAGE_LOGS`` names, else in the temporary one.

    ``triage run`` sets the variable, so that the logs lie beside its report.

    >>> path = new_log_path("any")
    >>> path.name.startswith("server-any-"), path.is_file()
    (True, True)
    >>> path.unlink()
    """
    folder = os.environ.get(LOGS_VARIABLE)
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    descriptor, path = tempfile.mkstemp(prefix=f"server-{name}-", suffix=".log", dir=folder or None)
    os.close(descriptor)
    return Path(path)
