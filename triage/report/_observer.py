"""What a run tells while it runs."""

from __future__ import annotations

from triage.cases import Case
from triage.result import Result


class Observer:
    """Hears what becomes of each case; this one ignores it. Every method may be called from any thread."""

    def waits(self, case: Case) -> None:
        """The case waits for a GPU."""

    def begins(self, case: Case) -> None:
        """The notebook of the case starts."""

    def proceeds(self, case: Case, cells: int) -> None:
        """So many code cells of the notebook have ended."""

    def ends(self, result: Result) -> None:
        """The case has ended, or its result of an earlier run was kept."""
