"""Records as tables, for a notebook."""

import sys
from pathlib import Path

from triage.hangs import compare_records, compare_stacks, watch_command


def test_a_hung_command_is_listed_with_its_stacks_and_one_that_ended_without(tmp_path: Path) -> None:
    hung = watch_command([sys.executable, "-c", "import queue; queue.Queue().get()"], out=tmp_path, stall_s=1.0)
    ended = watch_command(["true"], out=tmp_path / "ended")
    records = {"hung": hung, "ended": ended}

    table = compare_records(records)
    assert table["class"].to_dict() == {"hung": "host_deadlock", "ended": "none"}
    assert "every thread waits for a lock" in table.loc["hung", "because"]
    stacks = compare_stacks(records)
    assert set(stacks["command"]) == {"hung"}
    assert stacks["at_s"].nunique() == 2
    assert stacks["calls"].str.contains("Queue.get").all()


def test_no_hang_is_an_empty_table() -> None:
    assert compare_stacks({}).empty
    assert compare_records({}).empty
