"""What a hang on a real GPU looks like to `triage watch`. Needs torch with HIP or CUDA, and Triton for the kernel.

Nobody else may use the GPU meanwhile: its utilisation is what tells the classes apart.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.gpu.gpu_programs import HOLD, IDLE, SPIN

pytestmark = pytest.mark.gpu

STALL_S = 10.0
HELD_BYTES = 4 << 30


def watch(source: str, folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Runs a program under the watch. Gives the exit code, and what hang.json says."""
    program = folder / "program.py"  # a file: Triton reads the source of its kernels
    program.write_text(source, encoding="utf-8")
    out = folder / "watch"
    words = ["watch", "--stall-s", str(STALL_S), *options, "--out", str(out), "--", sys.executable, str(program)]
    done = subprocess.run(
        [sys.executable, "-m", "triage.cli", *words], capture_output=True, text=True, check=False, timeout=300
    )
    record = json.loads((out / "hang.json").read_text(encoding="utf-8"))
    assert "ready" in done.stdout, done.stderr
    print(json.dumps({name: record[name] for name in ("class", "because", "gpu", "residue")}, indent=1))  # noqa: T201
    return done.returncode, record


def list_functions(record: dict[str, Any]) -> set[str]:
    return {
        frame["function"].rpartition(".")[2]
        for sample in record["samples"]
        for process in sample["processes"]
        for thread in process["threads"]
        for frame in thread["frames"]
    }


def assert_nothing_is_left(record: dict[str, Any], folder: Path) -> None:
    assert record["residue"]["survivors"] == []
    program = str(folder / "program.py")
    for process in psutil.process_iter(["cmdline"]):
        assert program not in (process.info["cmdline"] or [])


@pytest.fixture(autouse=True)
def _torch() -> None:
    pytest.importorskip("torch", reason="needs torch")


def test_a_kernel_that_never_retires_is_device_busy(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="needs Triton")
    code, record = watch(SPIN, tmp_path)

    assert record["class"] == "device_busy", record["because"]
    assert code == 124
    assert record["hung"] is True
    assert record["ending"] == "stalled"
    assert "synchronize" in list_functions(record)
    assert "waits for the GPU" in record["because"][0]
    assert max(reading["utilisation_percent"] for reading in record["gpu"]["readings"]) >= 90
    assert_nothing_is_left(record, tmp_path)


def test_a_host_that_waits_for_an_idle_gpu_is_device_idle_wait(tmp_path: Path) -> None:
    code, record = watch(IDLE, tmp_path)

    assert record["class"] == "device_idle_wait", record["because"]
    assert code == 124
    assert "synchronize" in list_functions(record)
    assert max(reading["utilisation_percent"] for reading in record["gpu"]["readings"]) <= 5
    assert_nothing_is_left(record, tmp_path)


def test_the_memory_of_a_killed_kernel_is_free_at_once(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="needs Triton")
    code, record = watch(HOLD, tmp_path)

    assert code == 124
    used = sum(reading["vram_used_bytes"] for reading in record["gpu"]["readings"])
    assert used >= HELD_BYTES
    assert record["residue"]["vram_bytes"] is not None
    assert record["residue"]["vram_bytes"] < HELD_BYTES // 16
    assert_nothing_is_left(record, tmp_path)
