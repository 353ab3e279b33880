"""Records of watched commands as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from triage.hangs._record import HangClass, HangRecord

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_FRAMES = 6


def compare_records(records: Mapping[str, HangRecord]) -> pd.DataFrame:
    """One row for each record: its class and what decided it, how it ended, its phase and last sign of life."""
    import pandas as pd

    rows = [
        {
            "command": name,
            "class": record.diagnosis.hang_class.value,
            "ending": record.ending.value,
            "phase": record.phase,
            "last sign of life": f"{record.last_progress.sign}, {record.last_progress.age_s:.0f} s before the end",
            "because": " ".join(record.diagnosis.because),
        }
        for name, record in records.items()
    ]
    columns = ["command", "class", "ending", "phase", "last sign of life", "because"]
    return pd.DataFrame(rows, columns=columns).set_index("command")


def compare_stacks(records: Mapping[str, HangRecord]) -> pd.DataFrame:
    """One row for each thread with a stack and each sample of the records that are no clean end.

    ``calls`` are the innermost ones, the innermost first.
    """
    import pandas as pd

    rows = [
        {
            "command": name,
            "at_s": round(sample.at_s, 1),
            "process": f"{process.name} ({process.pid})",
            "thread": thread.name,
            "state": thread.state,
            "waits in": thread.syscall or thread.wchan,
            "calls": " ← ".join(str(frame) for frame in thread.frames[:_SHOWN_FRAMES]),
        }
        for name, record in records.items()
        if record.diagnosis.hang_class is not HangClass.NONE
        for sample in record.evidence.samples
        for process in sample.processes
        for thread in process.threads
        if thread.frames
    ]
    return pd.DataFrame(rows, columns=["command", "at_s", "process", "thread", "state", "waits in", "calls"])
