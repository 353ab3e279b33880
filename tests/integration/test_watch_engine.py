"""Real vLLM under the watch: a start whose worker is stopped while it profiles, and one that comes up."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.hangs.ablation import list_ablations
from triage.encoder import Startup
from triage.engine.models import find_model
from triage.engine.phases import Phase
from triage.engine.server import plan_server
from triage.engine.startup import profiling_args
from triage.hangs import Ending, Evidence, HangClass, diagnose, watch_startup
from triage.hangs._record import HangRecord

ARGS = ("--max-model-len", "4096")


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def stop_worker(log: Path, stopped: list[int], over: threading.Event) -> None:
    """Stops the innermost process of the engine as soon as the log says that it profiles."""
    while not over.wait(0.05):
        if log.exists() and b"Warming up model" in log.read_bytes():
            names = {process: process.name() for process in descendants()}
            worker = max(
                (process for process, name in names.items() if name.startswith(("VLLM::Worker", "VLLM::EngineCor"))),
                key=lambda process: process.create_time(),
            )
            os.kill(worker.pid, signal.SIGSTOP)
            stopped.append(worker.pid)
            return


def classify_without_a_piece(evidence: Evidence) -> set[HangClass]:
    """The classes that are left when a piece of evidence is gone, but for single threads: there are hundreds."""
    left = [less for name, less in list_ablations(evidence) if "of thread" not in name]
    return {diagnose(less, ending=Ending.STALLED, returncode=None, progressing=False).hang_class for less in left}


@pytest.mark.engine
def test_a_start_whose_worker_is_stopped_in_the_profile_is_a_stall_with_the_stopped_process_in_evidence(tmp_path):
    before = set(descendants())
    stopped: list[int] = []
    over = threading.Event()
    stopper = threading.Thread(target=stop_worker, args=(tmp_path / "server.log", stopped, over))
    stopper.start()
    try:
        record, start = watch_startup(
            find_model("tiny:qwen25vl"),
            out=tmp_path,
            args=(*ARGS, *profiling_args()),
            stall_s=20.0,
            time_limit_s=400.0,
        )
    finally:
        over.set()
        stopper.join()
    assert record.ending is Ending.STALLED, record.diagnosis
    assert record.phase == "profile"
    assert record.exit_code == 124
    seen = {process.pid: process for process in record.evidence.samples[-1].processes}
    assert seen[stopped[0]].state == "T"
    assert record.diagnosis.hang_class is HangClass.HOST_DEADLOCK, record.diagnosis.because
    assert classify_without_a_piece(record.evidence) <= {HangClass.HOST_DEADLOCK, HangClass.UNKNOWN}
    assert (start.ready, start.timed_out, start.log.last_phase) == (False, True, Phase.PROFILE)
    assert not record.residue.survivors
    assert set(descendants()) <= before


@pytest.mark.engine
def test_a_healthy_start_is_no_hang_and_its_phases_come_in_order(tmp_path):
    before = set(descendants())
    record, start = watch_startup(find_model("tiny:qwen25vl"), out=tmp_path, args=ARGS, stall_s=60.0)
    assert_healthy(record, start)
    assert set(descendants()) <= before


def assert_healthy(record: HangRecord, start: Startup) -> None:
    assert (record.ending, record.hung, record.exit_code) == (Ending.REACHED, False, 0), record.diagnosis
    phases = [mark.phase for mark in record.phases]
    assert phases[0] == "import"
    assert phases[-1] == "ready"
    assert {"config", "workers", "weights", "kv_cache"} <= set(phases)
    assert [mark.at_s for mark in record.phases] == sorted(mark.at_s for mark in record.phases)
    assert start.ready
    assert 0 < start.elapsed_s <= record.duration_s
    assert max(tick.cpu_percent for tick in record.timeline) > 50


@pytest.mark.engine
def test_the_first_answered_request_is_a_phase(tmp_path):
    """Through the command itself, whose output is a pipe here."""
    import httpx

    planned = plan_server(find_model("tiny:e5-metaspace"), args=["--runner", "pooling", "--max-model-len", "512"])
    command = [sys.executable, "-m", "triage.cli", "watch", "--out", str(tmp_path), "--", *planned.command]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=dict(planned.env), stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 300
        while b"Application startup complete" not in (tmp_path / "log").read_bytes():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        body = {"model": planned.served_name, "input": ["it is Paris"]}
        assert httpx.post(f"{planned.url}/v1/embeddings", json=body, timeout=60).status_code == 200
        time.sleep(1.0)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 128 + signal.SIGTERM
    text = (tmp_path / "hang.json").read_text()
    assert '"phase": "request"' in text
    assert '"ending": "stopped"' in text
