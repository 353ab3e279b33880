"""What `triage run` shows while it runs: a live table on a terminal, one line for each event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from triage.cli._console import quote
from triage.report import Observer, Plan, count_cells
from triage.result import Result

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from triage.cases import Case

COLOURS = {0: "green", 3: "yellow", 4: "red"}  # by the exit code that a verdict gives


@contextmanager
def show_run(console: Console, plans: Sequence[Plan]) -> Iterator[Observer]:
    """An observer that shows the run on the console; the live table leaves nothing behind."""
    if not console.is_terminal:
        yield Lines(console)
        return
    from rich.live import Live

    table = LiveTable(plans)
    with Live(get_renderable=table.draw, console=console, refresh_per_second=4, transient=True):
        yield table


class Lines(Observer):
    """One line for each event, for a log."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def waits(self, case: Case) -> None:
        """The case waits for a GPU."""
        self._console.print(f"[dim]waiting[/] {case.id}: for a GPU")

    def begins(self, case: Case) -> None:
        """The notebook of the case starts."""
        self._console.print(f"[dim]running[/] {case.id}")

    def ends(self, result: Result) -> None:
        """The case has ended."""
        self._console.print(f"[dim]ended  [/] {result.case}: {result.verdict}")


@dataclass
class _Row:
    """One case of the table. ``cells`` counts the code cells that have ended, of ``of``."""

    of: int
    state: str = "[dim]not yet[/]"
    cells: int = 0
    began: float | None = None
    took_s: float | None = None


class LiveTable(Observer):
    """What each case does now, drawn anew whenever it is asked for."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._rows = {plan.case.id: _Row(of=count_cells(plan.notebook)) for plan in plans}

    def waits(self, case: Case) -> None:
        """The case waits for a GPU."""
        self._rows[case.id].state = "waits for a GPU"

    def begins(self, case: Case) -> None:
        """The notebook of the case starts."""
        row = self._rows[case.id]
        row.state, row.began = "[cyan]running[/]", time.monotonic()

    def proceeds(self, case: Case, cells: int) -> None:
        """So many code cells have ended."""
        self._rows[case.id].cells = cells

    def ends(self, result: Result) -> None:
        """The case has ended."""
        row = self._rows[result.case]
        row.state = f"[{COLOURS[result.verdict.exit_code]}]{result.verdict}[/]"
        row.took_s = result.duration_s or 0.0

    def draw(self) -> Table:
        """The table of this moment."""
        from rich import box
        from rich.table import Table

        table = Table("case", "state", box=box.SIMPLE_HEAD, header_style="bold")
        table.add_column("cells", justify="right")
        table.add_column("took", justify="right")
        for case, row in self._rows.items():
            seconds = row.took_s if row.took_s is not None else row.began and time.monotonic() - row.began
            cells = f"{min(row.cells, row.of)}/{row.of}" if row.began is not None else ""
            table.add_row(quote(case), row.state, cells, "" if seconds is None else f"{seconds:.0f} s")
        return table
