"""What a machine is called in a record: always the same, and not its name."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from functools import cache
from pathlib import Path

NODE_VARIABLE = "TRIAGE_NODE"
_KFD = Path("/sys/class/kfd/kfd/topology/nodes")
_MACHINE_ID = Path("/etc/machine-id")


@cache
def name_node() -> str:
    """The alias of this machine: ``TRIAGE_NODE`` where it is set, else a few digits of a hash.

    The hash is over the ids of the AMD GPUs, which every container of a node sees, else over the machine's id, else
    over its host name. It cannot be turned back, but for a host name it can be guessed: set the variable to avoid that.

    >>> name_node().startswith("node-") or NODE_VARIABLE in os.environ
    True
    """
    return os.environ.get(NODE_VARIABLE) or f"node-{hashlib.sha256(_read_identity().encode()).hexdigest()[:6]}"


def _read_identity() -> str:
    ids = sorted(found for path in _KFD.glob("*/properties") if (found := _read_unique_id(path)))
    if ids:
        return f"triage gpus {' '.join(ids)}"
    try:
        machine = _MACHINE_ID.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        machine = ""
    return f"triage machine {machine}" if machine else f"triage host {socket.gethostname()}"


def _read_unique_id(properties: Path) -> str | None:
    try:
        found = re.search(r"^unique_id (\d+)$", properties.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return found.group(1) if found and found.group(1) != "0" else None
