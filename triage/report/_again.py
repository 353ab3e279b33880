"""The command that runs a case once more, as it was run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triage.cases import Case

_USUAL_OUT = Path("reports")
_TOLD = {"case", "case_id"}  # given to each notebook without being asked for


def name_command(case: Case, *, parameters: Mapping[str, Any], out: Path, catalogue: Path | None = None) -> str:
    """``triage run`` with what a case does not say by itself: the folder, and parameters other than its own.

    >>> from triage.cases import read_case
    >>> case = read_case("e5-token-count")
    >>> name_command(case, parameters=case.parameters | {"repeat": 3, "query": "Who?"}, out=Path("my reports"))
    "triage run e5-token-count --out 'my reports' -p 'query=Who?' -p repeat=3"
    """
    words = ["triage", "run", case.id]
    if out != _USUAL_OUT:
        words += ["--out", str(out)]
    if catalogue is not None:
        words += ["--catalogue", str(catalogue)]
    for name, value in parameters.items():
        if name not in _TOLD and (name not in case.parameters or case.parameters[name] != value):
            words += ["-p", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)
