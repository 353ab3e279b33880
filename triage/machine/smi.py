"""The SMI tools: where they are, and the JSON in what they print."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from typing import Any

_ROCM_BIN = "/opt/rocm/bin"


def find_tools(names: Iterable[str]) -> dict[str, str]:
    """The paths of the tools that are installed, in their order; ROCm's folder need not be on the PATH.

    >>> find_tools(["no-such-smi"])
    {}
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), _ROCM_BIN))
    found = {name: shutil.which(name, path=path) for name in names}
    return {name: os.path.abspath(program) for name, program in found.items() if program is not None}


def load_json(text: str) -> Any:
    """The JSON in an output that may begin with warnings. Raises `ValueError` where there is none.

    >>> load_json("WARNING: low-power state\\n{}")
    {}
    """
    starts = [match.start() for match in re.finditer(r"^\s*[\[{]", text, re.MULTILINE)]
    for start in starts:
        try:
            return json.JSONDecoder().raw_decode(text[start:].lstrip())[0]
        except ValueError:
            continue
    raise ValueError("it printed no JSON")
