"""`triage run` and `triage cases`, as a shell sees them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.notebooks.shelf import Shelf, code, parameters
from triage.result import Verdict, read_result


def triage(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "triage.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def run(shelf: Shelf, out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return triage("run", "--catalogue", shelf.folder, "--out", out, *arguments)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A run over a case that concludes and one that does not finish, two at a time."""
    folder = tmp_path_factory.mktemp("mixed")
    shelf = Shelf(folder / "catalogue")
    shelf.add("good", parameters("repeat: int = 1"))
    shelf.add("bad", parameters("repeat: int = 1"), code("1 / 0"))
    ended = run(shelf, folder / "out", "-j", 2, "--json", "-p", "repeat=2")
    return ended, folder / "out", shelf


def test_the_worst_verdict_gives_the_exit_code(mixed):
    ended, _, _ = mixed
    assert ended.returncode == 4


def test_json_on_stdout_is_the_index_and_nothing_else(mixed):
    ended, out, _ = mixed
    index = json.loads(ended.stdout)
    assert index == json.loads((out / "index.json").read_text())
    assert set(index) == {"schema_version", "versions", "results"}
    rows = {row["case"]: row for row in index["results"]}
    assert rows["good"]["verdict"] == "REPRODUCED"
    assert rows["bad"]["verdict"] == "INCOMPLETE"
    for row in rows.values():
        assert {"case", "family", "verdict", "cause", "report", "result"} <= set(row)
        assert (out / row["report"]).is_file()
        assert read_result(out / row["result"]).verdict == row["verdict"]


def test_the_table_at_the_end_goes_to_stderr(mixed):
    ended, _, _ = mixed
    for word in ("case", "verdict", "cause", "report", "good", "REPRODUCED", "ZeroDivisionError"):
        assert word in ended.stderr


def test_the_index_page_links_every_report(mixed):
    _, out, _ = mixed
    page = (out / "index.html").read_text()
    assert 'href="good/report.html"' in page
    assert 'href="bad/report.html"' in page


def test_a_met_expectation_is_success_and_another_verdict_is_not(mixed, tmp_path):
    _, _, shelf = mixed
    met = run(shelf, tmp_path, "good", "--expect", "reproduced")
    assert (met.returncode, met.stdout.strip()) == (0, str(tmp_path / "index.html"))
    assert run(shelf, tmp_path, "good", "--expect", "NOT_REPRODUCED").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["goood", "evil"], "No case is called 'goood', 'evil'. Did you mean good?"),
        (["-p", "repaet=1"], "repaet: unknown; did you mean repeat"),
        (["-p", "repeat=x", "-p", "oops"], "'oops' has no '='"),
        (["--expect", "MAYBE"], "MAYBE"),
        (["--on", "slurm"], "leave --on slurm out"),
        (["-j", "0"], "-j"),
        (["--timeout-s", "soon"], "See `triage run --help`."),
        (["--nonsense"], "--nonsense"),
        (["--catalogue", "/no/such/folder"], "/no/such/folder is not a folder"),
        (["--out", "/dev/null/x"], "/dev/null is a file, not a folder"),
    ],
)
def test_bad_input_is_one_sentence_with_the_mend_and_exit_2(mixed, tmp_path, arguments, sentence):
    _, _, shelf = mixed
    ended = run(shelf, tmp_path / "out", *arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith("triage: ")
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 8
    assert ended.stdout == ""
    assert not (tmp_path / "out").exists()


def test_the_problems_of_all_cases_come_in_one_message(mixed, tmp_path):
    _, _, shelf = mixed
    stderr = run(shelf, tmp_path, "-p", "nothing=1").stderr
    assert "good (good.ipynb)" in stderr
    assert "bad (bad.ipynb)" in stderr


def test_a_notebook_finds_its_private_case(tmp_path):
    shelf = Shelf(tmp_path / "catalogue")
    shelf.add("mine", code('from triage import read_case\nprint(read_case("mine").title)'))
    ended = run(shelf, tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    assert "The case mine" in (tmp_path / "out" / "mine" / "notebook.ipynb").read_text()


def test_a_private_case_whose_notebook_is_nowhere_says_where_it_was_looked_for(tmp_path):
    shelf = Shelf(tmp_path / "catalogue")
    shelf.find(shelf.add("mine")).unlink()
    ended = run(shelf, tmp_path / "out")
    assert ended.returncode == 2
    assert f"mine.ipynb, which is neither in {shelf.folder} nor among triage's" in ended.stderr


def test_an_unknown_command_is_exit_2():
    ended = triage("rnu")
    assert ended.returncode == 2
    assert "rnu" in ended.stderr


def test_cases_prints_the_fields_of_the_contract(mixed):
    _, _, shelf = mixed
    listed = json.loads(triage("cases", "--json", "--catalogue", shelf.folder).stdout)
    assert set(listed) == {"cases"}
    assert [list(case) for case in listed["cases"]] == [["id", "family", "title", "upstream", "test", "notebook"]] * 2
    assert listed["cases"][1] == {
        "id": "good",
        "family": "token_count",
        "title": "The case good",
        "upstream": "https://github.com/vllm-project/vllm/pull/42909",
        "test": "tests/test_it.py",
        "notebook": "good.ipynb",
    }


def test_cases_is_a_table_for_people(mixed):
    _, _, shelf = mixed
    ended = triage("cases", "--catalogue", shelf.folder)
    assert "The case bad" in ended.stdout
    assert ended.returncode == 0


def wait_for(path: Path, *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name)
def test_a_run_that_is_killed_leaves_whole_files_and_no_process(shelf, tmp_path, find_processes, number):
    mark = f"{300 + time.time_ns() % 10**6}"
    shelf.add("a-quick-one")
    source = f"import subprocess, time\n_ = subprocess.Popen(['setsid', 'sleep', '{mark}'])\nopen('begun', 'w').close()"
    shelf.add("slow-one", code(source), code("time.sleep(300)"))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "triage.cli", "run", "--catalogue", shelf.folder, "--out", out, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(out / "slow-one" / "work" / "begun")
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert len(family) >= 4, "the guard, the worker, the kernel and its child"
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert find_processes(mark) == []

    assert read_result(out / "a-quick-one" / "result.json").verdict is Verdict.REPRODUCED
    assert read_result(out / "slow-one" / "result.json").verdict is Verdict.INCOMPLETE
    json.loads((out / "slow-one" / "notebook.ipynb").read_text())
    verdicts = {row["case"]: row["verdict"] for row in json.loads((out / "index.json").read_text())["results"]}
    assert verdicts == {"a-quick-one": "REPRODUCED", "slow-one": "INCOMPLETE"}
    if number is not signal.SIGKILL:
        assert process.returncode == 4
        assert json.loads(stdout)["results"][1]["cause"].startswith("The run was stopped in cell 3")
        assert "Traceback" not in stderr


@pytest.fixture
def small_disk(tmp_path):
    """A file system that is full after 300 kB; made read-only on request."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_during_the_run_is_one_sentence(shelf, small_disk, find_processes):
    mark = f"{300 + time.time_ns() % 10**6}"
    source = f"import subprocess, os\n_ = subprocess.Popen(['setsid', 'sleep', '{mark}'])"
    shelf.add("writer", code(f"{source}\nprint(os.urandom(600_000).hex())"), code("1"))
    ended = run(shelf, small_disk / "out")
    assert ended.returncode == 3, ended.stderr
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert find_processes(mark) == []
    folder = small_disk / "out" / "writer"
    assert read_result(folder / "result.json").verdict in {Verdict.INCOMPLETE, Verdict.INFRA}
    json.loads((folder / "notebook.ipynb").read_text())
    assert [p.name for p in folder.iterdir() if p.name.endswith(".tmp")] == []


def test_a_disk_that_is_full_already_is_one_sentence(shelf, small_disk):
    shelf.add("any")
    with (small_disk / "filler").open("wb") as file, pytest.raises(OSError, match="No space left"):
        file.write(bytes(400_000))
    ended = run(shelf, small_disk / "out")
    assert ended.returncode == 3
    assert "No space left on device" in ended.stderr
    assert "--out" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_read_only_folder_is_one_sentence(shelf, small_disk):
    shelf.add("any")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ended = run(shelf, small_disk / "out")
    assert ended.returncode == 3
    assert "Read-only file system" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [("/no/such/folder", "/no/such/folder does not exist"), ("tiny:e7", "No tiny checkpoint is called 'e7'")],
)
def test_a_model_that_is_not_there_is_bad_input(tmp_path, reference, sentence):
    ended = triage("run", "e5-token-count", "--out", tmp_path, "-p", f"snapshot_a={reference}")
    assert ended.returncode == 2
    result = read_result(tmp_path / "e5-token-count" / "result.json")
    assert result.verdict is Verdict.INCOMPLETE
    assert sentence in result.cause
    assert result.next_command
    assert "Traceback" not in ended.stderr
