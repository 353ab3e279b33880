"""Evidence of a process that has given a real GPU work which does not end for a while. Needs torch with HIP or CUDA."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.evidence_programs import Programs, collect, find, list_calls, wait_until
from triage.hangs import read_baseline, read_residue, take_sample

pytestmark = pytest.mark.gpu

# A kernel that spins for a bounded count, about a minute on a current GPU, and a host that waits for it.
SPIN = """
import torch
held = torch.zeros(1 << 30, dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
torch.cuda._sleep(120_000_000_000)
print("ready", flush=True)
torch.cuda.synchronize()
"""
HELD_BYTES = 1 << 30


@pytest.fixture
def programs() -> Iterator[Programs]:
    pytest.importorskip("torch", reason="needs torch")
    programs = Programs()
    yield programs
    programs.end()


def read_utilisation(pid: int) -> float:
    """In percent. Without stacks: the first of a large library can take half a minute from a cold disk."""
    gpu = take_sample([pid], clock=time.monotonic, limit_s=30, stacks=False).gpu
    return 0.0 if gpu is None else max(reading.utilisation_percent or 0.0 for reading in gpu.readings)


def test_a_busy_gpu_its_holder_and_the_waiting_host_are_seen_and_nothing_stays(
    programs: Programs, tmp_path: Path
) -> None:
    baseline = read_baseline()
    assert baseline.vram_used_bytes is not None
    pid = programs.start(SPIN)
    wait_until(lambda: read_utilisation(pid) >= 90)
    evidence = collect(pid, tmp_path, gap_s=2.0, baseline=baseline)

    for sample in evidence.samples:
        assert sample.gpu is not None
        assert max(reading.utilisation_percent or 0 for reading in sample.gpu.readings) >= 90
        assert sum(reading.vram_used_bytes or 0 for reading in sample.gpu.readings) >= HELD_BYTES
        assert pid in [holder.pid for holder in sample.gpu.holders]
    process = find(evidence, pid)
    main = process.threads[0]
    assert process.stack_source == "py-spy --native", process.stack_error
    assert "synchronize" in list_calls(main)
    assert main.frames[0].native  # inside the driver's wait
    assert any(file.target in {"/dev/kfd", "/dev/nvidia0"} for file in process.files)

    programs.end()
    residue = read_residue(baseline, pids=[pid])
    assert residue.vram_bytes == 0
