"""What the machine is on which a verification runs: the part of a receipt that says where its figures hold."""

from __future__ import annotations

import os
import platform
from typing import Any

from triage.engine.versions import read_versions


def capture_environment() -> dict[str, Any]:
    """Versions, operating system and processors, as plain JSON without names of persons or hosts.

    >>> sorted(capture_environment())
    ['cpus', 'machine', 'packages', 'system']
    """
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": read_versions(),
    }
