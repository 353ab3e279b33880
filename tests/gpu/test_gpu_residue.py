"""GPU memory that tests leave behind, on a real device: what stays is named, what is given back is waited for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from triage.settings import capture_environment

pytestmark = pytest.mark.gpu

HOLDER = (
    "import torch, time; held = torch.zeros(1 << 28, device='cuda'); torch.cuda.synchronize(); "
    "print('ready', flush=True); time.sleep(600)"
)
TESTS = f"""
import subprocess, sys

held = []

def start():
    process = subprocess.Popen([sys.executable, "-c", {HOLDER!r}], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "ready"
    held.append(process)

def test_leaves_a_holder():
    start()

def test_ends_its_holder():
    start()
    held[-1].kill()

def test_tidy():
    held[0].kill()
    held[0].wait()
"""


def test_the_test_that_holds_gpu_memory_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    out = tmp_path / "residue.json"
    plugins = ["-p", "triage.pytest_residue", "-p", "no:cacheprovider"]
    options = ["--rootdir", str(tmp_path), "--residue-json", str(out), "--residue-settle-s", "10"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "-c", os.devnull, *options, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    told = {row["test"].partition("::")[2]: row for row in json.loads(out.read_text())["tests"]}
    left = told["test_leaves_a_holder"]["left"]
    assert [text for text in left if text.startswith("GPU memory: ")], told
    assert [text for text in left if text.startswith("GPU held by ")], told
    assert not [text for text in told.get("test_ends_its_holder", {"left": []})["left"] if "GPU" in text], told


def test_a_capture_names_the_gpu_and_its_driver_and_no_serial_number() -> None:
    capture = capture_environment()
    assert capture.gpu.gpus
    assert all(gpu.arch and gpu.vram_bytes for gpu in capture.gpu.gpus)
    assert capture.gpu.driver
    uuid = subprocess.run(
        ["sh", "-c", "nvidia-smi --query-gpu=uuid,serial --format=csv,noheader || true"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert not [word for word in uuid.replace(",", " ").split() if len(word) > 8 and word in capture.to_json()]
