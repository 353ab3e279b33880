"""Verifications and cases on a real Slurm, which really loses jobs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet.cluster import NODES
from tests.notebooks.shelf import Shelf, code, parameters
from tests.verify.repository import ALWAYS, COMMAND, NEVER, Repository
from triage.errors import InputError
from triage.fleet import SlurmError, SlurmOptions, check_options, name_node

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]

# Runs that wait in the shared folder until a test lets them go.
WAITING = """
import os, pathlib, sys, time
import setting
gate = pathlib.Path(os.environ["GATE"])
(gate / f"{os.environ['SLURMD_NODENAME']}-{os.getpid()}").touch()
while not (gate / "open").exists():
    time.sleep(0.05)
assert not setting.FAILS(0), "boom"
"""


# Half of the runs of the base fail on one node, and all runs of either arm on the other.
NODE_DEPENDENT = """
import os, pathlib
import setting
node = os.environ["SLURMD_NODENAME"]
count = pathlib.Path(f"count-{node}")
number = int(count.read_text()) if count.exists() else 0
count.write_text(str(number + 1))
assert not (node == "triage-b" or (setting.FAILS(0) and number % 2)), "boom"
"""


class Driver:
    """`triage verify --on slurm` as a process of its own."""

    def __init__(self, repository: Repository, tmp_path: Path, *words: str) -> None:
        self.out, self.gate = tmp_path / "out", tmp_path / "gate"
        self.gate.mkdir()
        patch = repository.make_patch("sub/setting.py", NEVER)
        command = ["verify", "--patch", str(patch), "--on", "slurm", "--out", str(self.out), "--json"]
        self.process = self._start([*command, *words, "--", *COMMAND], repository.place)

    def _start(self, words: list[str], place: Path) -> subprocess.Popen[str]:
        env = os.environ | {"GATE": str(self.gate)}
        command = [sys.executable, "-m", "triage.cli", *words]
        return subprocess.Popen(command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def resume(self) -> None:
        """Another driver for the same folder."""
        self.process = self._start(["verify", "--resume", str(self.out), "--json"], self.out)

    def open_gate(self) -> None:
        """Lets all runs go."""
        (self.gate / "open").touch()

    def wait_for_runs(self, count: int = 1) -> list[str]:
        """Until so many runs wait at the gate; the nodes that they are on."""
        wait_until(lambda: len(list(self.gate.iterdir())) >= count)
        return [path.name.rpartition("-")[0] for path in self.gate.iterdir()]

    def finish(self) -> dict[str, object]:
        """The receipt."""
        said, complaints = self.process.communicate(timeout=200)
        assert said, complaints
        return json.loads(said)


def wait_until(ready: Callable[[], object], *, limit_s: float = 90) -> None:
    until = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)


@pytest.fixture
def waiting(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path, setting=ALWAYS)
    repository.write("sub/check.py", WAITING)
    repository.commit()
    return repository


def test_pairs_are_spread_over_the_nodes_and_the_receipt_is_the_same_as_here(cluster, waiting, tmp_path):
    driver = Driver(waiting, tmp_path, "--runs", "4", "--nodes", "all")
    driver.open_gate()
    receipt = driver.finish()
    attempts = receipt["attempts"]
    by_pair = [{a["node"] for a in attempts if a["pair"] == pair} for pair in range(4)]
    assert receipt["verdict"] == "VERIFIED"
    assert all(len(nodes) == 1 for nodes in by_pair)
    assert Counter(a["node"] for a in attempts) == {name_node(node): 4 for node in NODES}
    assert not any(node in json.dumps(receipt) for node in NODES)
    assert receipt["place"]["gpus"] == 1
    checked = [sys.executable, "-m", "triage.cli", "verify", "--check", str(driver.out / "receipt.json")]
    assert subprocess.run(checked, capture_output=True, check=False).returncode == 0
    assert cluster.list_jobs("running,pending") == []


def test_a_cancelled_job_is_counted_as_lost_and_submitted_again(cluster, waiting, tmp_path):
    driver = Driver(waiting, tmp_path, "--runs", "3", "--nodes", "all")
    driver.wait_for_runs()
    running = next(line.split()[0] for line in cluster.list_jobs("running"))
    cluster.ask("scancel", running)
    wait_until(lambda: list(driver.out.glob("results/*.lost-1.json")))
    driver.open_gate()
    receipt = driver.finish()
    assert receipt["before"]["lost"] + receipt["after"]["lost"] == 1
    assert (receipt["before"]["failures"], receipt["after"]["passes"]) == (3, 3)
    assert len(receipt["attempts"]) == 7


def test_runs_on_a_node_that_dies_are_lost_and_made_elsewhere(cluster, waiting, tmp_path):
    driver = Driver(waiting, tmp_path, "--runs", "2")
    node = driver.wait_for_runs(2)[0]
    cluster.kill_node(node)
    try:
        wait_until(lambda: list(driver.out.glob("results/*.lost-1.json")))
        driver.open_gate()
        receipt = driver.finish()
    finally:
        cluster.start_node(node)
    lost = [a for a in receipt["attempts"] if a["outcome"] == "lost"]
    assert {a["node"] for a in lost} == {name_node(node)}
    assert (receipt["before"]["failures"], receipt["after"]["passes"]) == (2, 2)
    assert {a["node"] for a in receipt["attempts"] if a["outcome"] != "lost"} <= {name_node(name) for name in NODES}


def test_a_driver_that_dies_is_followed_by_another_without_running_anything_twice(cluster, waiting, tmp_path):
    driver = Driver(waiting, tmp_path, "--runs", "2", "--parallel", "1")
    driver.wait_for_runs()
    jobs = cluster.list_jobs("running,pending")
    driver.process.kill()
    driver.process.communicate()
    driver.resume()
    time.sleep(1.5)
    assert {job.split()[0] for job in cluster.list_jobs("running,pending")} == {job.split()[0] for job in jobs}
    driver.open_gate()
    receipt = driver.finish()
    assert (receipt["before"]["runs"], receipt["after"]["runs"]) == (2, 2)
    assert len(list(driver.gate.iterdir())) == 1 + 4


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_told_to_stop_leaves_no_job(cluster, waiting, tmp_path, signum):
    driver = Driver(waiting, tmp_path, "--runs", "4", "--parallel", "2")
    driver.wait_for_runs()
    driver.process.send_signal(signum)
    complaints = driver.process.communicate(timeout=60)[1]
    assert driver.process.returncode == 4
    assert "--resume" in complaints
    wait_until(lambda: not cluster.list_jobs("running,pending,completing"))


def test_a_bad_node_is_told_from_a_bad_fix(cluster, tmp_path):
    repository = Repository(tmp_path)
    repository.write("sub/check.py", NODE_DEPENDENT)
    repository.commit()
    driver = Driver(repository, tmp_path, "--runs", "8", "--nodes", "all", "--parallel", "1")
    receipt = driver.finish()
    assert [node["node"] for node in receipt["statistics"]["bad_nodes"]] == [name_node("triage-b")]
    assert receipt["verdict"] == "INSUFFICIENT"
    assert f"{name_node('triage-b')} is worse than the others" in " ".join(receipt["explanation"])


def test_a_command_that_no_node_can_run_is_told_at_once(cluster, waiting, tmp_path):
    words = ["verify", "--env", "A=1", "--on", "slurm", "--runs", "2", "--out", str(tmp_path / "out"), "--", "no-such"]
    command = [sys.executable, "-m", "triage.cli", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "There is no command 'no-such'" in done.stderr


# What is asked for is checked first


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SlurmOptions(partition="none"), "no partition 'none'"),
        (SlurmOptions(nodes=("triage-z",)), "no node triage-z"),
        (SlurmOptions(parallel=0), "--parallel is 0"),
    ],
)
def test_what_the_cluster_does_not_have_is_refused(cluster, options, words):
    with pytest.raises(InputError, match=words):
        check_options(options)


def test_what_is_left_open_is_taken_from_the_cluster(cluster):
    options = check_options(SlurmOptions(nodes=("all",), exclude=(name_node("triage-a"),), time_limit_s=1e9))
    assert (options.partition, options.nodes, options.gpus, options.longest_s) == ("short", ("triage-b",), 1, 3600)


def test_a_job_that_can_never_start_is_an_error_and_not_a_wait(cluster, waiting, tmp_path):
    driver = Driver(waiting, tmp_path, "--runs", "2", "--gpus", "64")
    complaints = driver.process.communicate(timeout=60)[1]
    assert driver.process.returncode == SlurmError.exit_code
    assert "Slurm" in complaints
    assert cluster.list_jobs("running,pending") == []


# Cases


def run_cases(shelf: Shelf, out: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "triage.cli", "run", "--catalogue", str(shelf.folder), "--on", "slurm"]
    command += ["--out", str(out), "--json", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


WAIT = """
import os, pathlib, time
gate = pathlib.Path(folder)
(gate / f"{os.environ['SLURM_JOB_ID']}").touch()
while not (gate / "open").exists():
    time.sleep(0.05)
"""


def test_a_case_runs_on_a_node_and_again_where_its_job_is_lost(cluster, tmp_path):
    shelf = Shelf(tmp_path / "catalogue")
    gate = tmp_path / "gate"
    gate.mkdir()
    shelf.add("slow", parameters('folder: str = ""'), code(WAIT), parameters=f'folder = "{gate}"')
    driver = run_cases(shelf, tmp_path / "out")
    wait_until(lambda: list(gate.iterdir()))
    assert read_verdicts(tmp_path / "out" / "index.json") == ["INCOMPLETE"]
    cluster.ask("scancel", next(gate.iterdir()).name)
    wait_until(lambda: len(list(gate.iterdir())) == 2)
    (gate / "open").touch()
    said, complaints = driver.communicate(timeout=200)
    assert driver.returncode == 0, complaints
    assert [row["verdict"] for row in json.loads(said)["results"]] == ["REPRODUCED"]
    assert (tmp_path / "out" / "slow" / "report.html").is_file()


def read_verdicts(index: Path) -> list[str]:
    return [row["verdict"] for row in json.loads(index.read_text())["results"]]
