"""In a container that refuses ptrace the programs write their stacks themselves, and what is missing is said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hangs.corpus import PROGRAMS, STALL_S
from tests.unit.evidence_programs import REFUSE_PTRACE


@pytest.mark.parametrize(
    ("program", "hang_class"), [("lock_order", "host_deadlock"), ("thread_keeps_it", "shutdown_hang")]
)
def test_a_hang_keeps_its_class(tmp_path: Path, program: str, hang_class: str) -> None:
    watch = [sys.executable, "-m", "triage.cli", "watch", "--stall-s", str(STALL_S), "--out", str(tmp_path), "--"]
    command = [sys.executable, REFUSE_PTRACE, *watch, sys.executable, PROGRAMS / f"{program}.py"]
    subprocess.run(command, capture_output=True, check=False)
    record: dict[str, Any] = json.loads((tmp_path / "hang.json").read_text())

    assert record["class"] == hang_class, record["because"]
    [process] = record["processes"]
    assert [stacks["source"] for stacks in process["stacks"]] == ["faulthandler"] * 2
    assert "without native calls: ptrace is refused" in process["stack_error"]
    assert "SYS_PTRACE" in next(m["why"] for m in record["not_collected"] if m["what"].startswith("native calls of "))
