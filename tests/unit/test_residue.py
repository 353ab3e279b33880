"""The plugin names what each test left behind, waits for what goes by itself, and puts things back where asked to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from triage.hangs import Baseline
from triage.residue import Leftovers, Snapshot, compare_snapshot, restore, take_snapshot, wait_to_settle

TESTS = """
import os, socket, subprocess, sys, threading, time
import pytest

held = []

def test_tidy():
    subprocess.run(["true"])

def test_sets_a_variable():
    os.environ["LEFT_OVER"] = "1"

def test_sets_a_secret():
    os.environ["LEFT_PASSWORD"] = "hunter2hunter2"

def test_patches_one(monkeypatch):
    monkeypatch.setenv("PATCHED", "1")

def test_leaves_a_daemon():
    subprocess.run(["sh", "-c", "sleep 47 & exit 0"])

def test_leaves_one_that_ends_soon():
    held.append(subprocess.Popen(["sleep", "0.4"]))

def test_leaves_a_port():
    held.append(socket.create_server(("127.0.0.1", 0)))

def test_leaves_shared_memory():
    with open(f"/dev/shm/triage-left-{os.getpid()}", "wb") as file:
        file.write(b"x" * 4096)

def test_changes_the_folder(tmp_path):
    os.chdir(tmp_path)

@pytest.fixture(scope="session")
def server():
    process = subprocess.Popen(["sleep", "53"])
    yield process
    process.kill()
    process.wait()

def test_uses_a_server(server):
    assert server.poll() is None

def test_tidy_at_the_end():
    pass
"""


def run(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, list[str]]]:
    (folder / "test_it.py").write_text(TESTS)
    out = folder / "residue.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "triage.pytest_residue", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(folder), "--residue-json", str(out), *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    for left in Path("/dev/shm").glob("triage-left-*"):
        left.unlink()
    told = json.loads(out.read_text())
    return done, {row["test"].partition("::")[2]: row["left"] for row in told["tests"]}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], dict[str, list[str]]]:
    return run(tmp_path_factory.mktemp("residue"), "--residue-settle-s", "1")


@pytest.mark.parametrize(
    ("test", "left"),
    [
        ("test_sets_a_variable", "variable LEFT_OVER set to 1, was unset"),
        ("test_sets_a_secret", "variable LEFT_PASSWORD set to (not recorded), was unset"),
        ("test_leaves_a_daemon", "process sleep 47"),
        ("test_leaves_a_port", "port "),
        ("test_leaves_shared_memory", "shared memory /dev/shm/triage-left-"),
        ("test_changes_the_folder", "working folder "),
        ("test_uses_a_server", "process sleep 53"),
    ],
)
def test_what_a_test_left_is_named_with_the_test(watched, test: str, left: str):
    assert [text for text in watched[1][test] if text.startswith(left)]
    assert len(watched[1][test]) == 1


@pytest.mark.parametrize("test", ["test_tidy", "test_patches_one", "test_tidy_at_the_end"])
def test_a_tidy_test_is_not_named(watched, test: str):
    assert test not in watched[1]


def test_what_goes_by_itself_is_told_apart(watched):
    assert watched[1]["test_leaves_one_that_ends_soon"] == []
    assert "process sleep 0.4" in watched[0].stdout
    assert "gone after" in watched[0].stdout


def test_what_a_session_fixture_held_is_gone_at_the_end(watched):
    end = watched[0].stdout.rpartition("Still there at the end:")[2]
    assert "sleep 53" not in end
    assert "LEFT_OVER" in end
    assert watched[0].returncode == 0


def test_asked_to_it_restores_and_lets_the_test_fail(tmp_path: Path):
    done, left = run(
        tmp_path, "--residue-restore", "--residue-fail", "--residue-settle-s", "0.1", "-k", "variable or daemon"
    )
    assert done.returncode == 1
    assert set(left) == {"test_sets_a_variable", "test_leaves_a_daemon"}
    assert "Still there at the end: nothing" in done.stdout


def test_it_works_under_xdist(tmp_path: Path):
    _, left = run(tmp_path, "-n", "2", "-k", "tidy or variable")
    assert list(left) == ["test_sets_a_variable"]


def make_snapshot() -> Snapshot:
    baseline = Baseline(kernel_log_s=None, shm={}, oom_kills={}, devcoredumps=frozenset(), vram_used_bytes=0)
    return Snapshot(environ={}, folder=None, threads=frozenset(), children={}, ports={}, holders={}, baseline=baseline)


def test_gpu_memory_that_a_driver_gives_back_late_is_waited_for():
    looks = iter([3 << 30, 1 << 30, 0])
    settled = wait_to_settle(make_snapshot(), settle_s=30, look=lambda _: Leftovers(vram_bytes=next(looks)))
    assert settled.at_once.describe() == ["GPU memory: 3,072 MiB more than before"]
    assert not settled.left
    assert settled.waited_s > 0


def test_gpu_memory_that_stays_is_left():
    settled = wait_to_settle(make_snapshot(), settle_s=0.2, look=lambda _: Leftovers(vram_bytes=1 << 30))
    assert settled.left.vram_bytes == 1 << 30


def test_restoring_puts_a_variable_back(monkeypatch):
    monkeypatch.setenv("THERE", "before")
    before = take_snapshot()
    os.environ["THERE"] = "after"
    os.environ["NEW"] = "1"
    left = compare_snapshot(before)
    assert left.variables == {"THERE": ["before", "after"], "NEW": [None, "1"]} or set(left.variables) == {
        "THERE",
        "NEW",
    }
    restore(before, left)
    assert (os.environ["THERE"], os.environ.get("NEW")) == ("before", None)
