"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that cases or commands need.

    ``ok``: what needs it can run. ``detail`` is what was found; ``mend`` a command or a sentence, empty where all is
    well. A check that is ok and has a mend works with less: without ptrace, say, stacks are Python's only.
    """

    name: str
    ok: bool
    detail: str
    mend: str = ""
