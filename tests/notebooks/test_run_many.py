"""Many cases in one run: side by side, on devices of their own, killed at any moment, taken up again."""

import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import psutil
import pytest
from bs4 import BeautifulSoup

from tests.notebooks.shelf import CONCLUDE, Shelf, code, parameters
from triage.result import Verdict, read_result

RUN = (sys.executable, "-m", "triage.cli", "run")
MARK = "TRIAGE_TEST_MANY"


def run(shelf: Shelf, out: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*RUN, "--catalogue", shelf.folder, "--out", out, *arguments]
    return subprocess.run(
        list(map(str, command)), env=os.environ | environment, capture_output=True, text=True, timeout=180, check=False
    )


def read_index(out: Path) -> dict[str, dict]:
    return {row["case"]: row for row in json.loads((out / "index.json").read_text())["results"]}


def read_stamps(out: Path) -> dict[str, int]:
    """When each result was written: one that is kept is not written again."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/result.json")}


def read_page(out: Path, case: str) -> BeautifulSoup:
    return BeautifulSoup((out / case / "report.html").read_text(), "html.parser")


def test_jobs_share_no_gpu_and_each_sees_its_own_alone(shelf, tmp_path):
    """Two played GPUs; whoever finds that another holds the same one fails."""
    source = (
        "import os, time\nfrom pathlib import Path\ngpu = os.environ['HIP_VISIBLE_DEVICES']\n"
        f"mine = Path({str(tmp_path)!r}, f'gpu-{{gpu}}')\nmine.mkdir()\ntime.sleep(0.5)\nmine.rmdir()\n"
        "assert gpu == os.environ['CUDA_VISIBLE_DEVICES']\nprint('gpu', gpu)"
    )
    for name in ("one", "three", "two"):
        shelf.add(name, code(source))
    ended = run(shelf, tmp_path / "out", "-j", 3, TRIAGE_GPUS="4,7", TRIAGE_GPU_LOCKS=str(tmp_path / "locks"))
    assert ended.returncode == 0, ended.stderr
    assert "at a time: " in ended.stderr
    used = {c for p in (tmp_path / "out").glob("*/notebook.ipynb") for c in "47" if f"gpu {c}" in p.read_text()}
    assert used <= {"4", "7"} != set()


def test_a_second_run_keeps_what_stands_and_runs_the_rest(shelf, tmp_path):
    out = tmp_path / "out"
    shelf.add("answered", parameters("repeat: int = 1"))
    shelf.add("changed", parameters("repeat: int = 1"))
    shelf.add("of-other-versions", parameters("repeat: int = 1"))
    shelf.add("failing", parameters("repeat: int = 1"), code(f"from pathlib import Path\nPath('{out}/mended').stat()"))
    assert run(shelf, out, "-j", 2).returncode == 4
    before = read_stamps(out)
    (out / "mended").write_text("")
    other = out / "of-other-versions" / "result.json"
    other.write_text(other.read_text().replace('"triage": "', '"triage": "0.0.'))
    (out / "answered" / "report.html").write_text("of a run that was killed between its result and its page")
    shelf.add("changed", parameters("repeat: int = 1"), code("'a new cell'"))
    ended = run(shelf, out, "--resume")
    assert ended.returncode == 0, ended.stderr
    after = read_stamps(out)
    assert {case for case in after if after[case] == before[case]} == {"answered"}
    assert "0.0." not in other.read_text().partition('"triage"')[2][:12]
    assert read_page(out, "answered").find(class_="word").text.startswith("REPRODUCED")
    rows = read_index(out)
    assert {case: row["previous_verdict"] for case, row in rows.items()} == {
        "answered": "REPRODUCED",
        "changed": "REPRODUCED",
        "failing": "INCOMPLETE",
        "of-other-versions": "REPRODUCED",
    }
    assert run(shelf, out, "--resume", "-p", "repeat=2", "answered").returncode == 0
    assert read_stamps(out)["answered"] > after["answered"]
    assert read_result(out / "answered" / "result.json").parameters == {"repeat": 2}


def test_a_terminal_shows_a_live_table_that_leaves_nothing_behind(shelf, tmp_path):
    shelf.add("watched", *[code(f"import time; time.sleep({n})") for n in (0.51, 0.52)])
    screen, terminal = pty.openpty()
    command = [*RUN, "--catalogue", str(shelf.folder), "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=terminal, stdout=subprocess.DEVNULL, env=os.environ | {"TERM": "xterm"}) as _:
        os.close(terminal)
        shown = b""
        while piece := _read(screen):
            shown += piece
    os.close(screen)
    text = shown.decode(errors="replace")
    assert "running" in text
    assert "0/4" in text
    assert "\x1b[1A" in text, "it is drawn over, again and again"
    assert "REPRODUCED" in text.rpartition("\x1b[2K")[2], "what stays is the table of the end"


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # the other side is closed
        return b""


def test_a_run_that_is_killed_before_it_began_a_case_leaves_a_page_that_says_so(shelf, tmp_path):
    """Also where an earlier run had left a verdict for it."""
    out = tmp_path / "out"
    shelf.add("a-slow-one", code("import time; time.sleep(60)"))
    shelf.add("later")
    assert run(shelf, out, "later").returncode == 0
    with subprocess.Popen([*RUN, "--catalogue", shelf.folder, "--out", out]) as process:
        wait_until((out / "a-slow-one" / "notebook.ipynb").exists)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert psutil.wait_procs(family, timeout=20)[1] == []
    for case in ("a-slow-one", "later"):
        assert read_result(out / case / "result.json").verdict is Verdict.INCOMPLETE
        page = read_page(out, case)
        assert page.find(class_="word").text.startswith("INCOMPLETE")
        assert page.find(class_="next").code.text.startswith(f"triage run {case} ")
        assert page.h1.text == f"The case {case}"
    assert {case: row["verdict"] for case, row in read_index(out).items()} == dict.fromkeys(
        ("a-slow-one", "later"), "INCOMPLETE"
    )


def test_kills_at_random_moments_leave_whole_files_and_no_process_and_are_taken_up_again(shelf, tmp_path):
    """A small share of what the benchmark report_kills does."""
    out, chance = tmp_path / "out", random.Random(9)
    for name in ("one", "two"):
        shelf.add(
            name, code("import subprocess\n_ = subprocess.Popen(['setsid', 'sleep', '60'])"), code("print('x' * 99)")
        )
    environment = os.environ | {MARK: str(out)}
    command = [*RUN, "--catalogue", str(shelf.folder), "--out", str(out), "-j", "2", "--resume"]
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(chance.uniform(0.5, 4))
            process.send_signal(number)
        wait_until(lambda: list_marked(str(out)) == [])
        check_files(out)
    assert run(shelf, out, "--resume").returncode == 0
    assert {row["verdict"] for row in read_index(out).values()} == {"REPRODUCED"}


def check_files(out: Path) -> None:
    """Every file is whole, and a page says what its result says, or that the run did not end."""
    for path in out.rglob("*.json"):
        json.loads(path.read_text())
    for path in out.rglob("*.ipynb"):
        json.loads(path.read_text())
    for path in out.rglob("*.html"):
        assert path.read_text().rstrip().endswith("</html>"), path
    for path in out.glob("*/report.html"):
        shown = read_page(out, path.parent.name).find(class_="word").text
        told = read_result(path.with_name("result.json")).verdict
        assert shown.startswith((told.replace("_", " "), "INCOMPLETE"))


def list_marked(value: str) -> list[psutil.Process]:
    """The living processes of a run, whatever they call themselves and wherever they hang."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == value:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(holds, *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run of three endings, by a notebook that is told its verdict."""
    folder = tmp_path_factory.mktemp("told")
    shelf = Shelf(folder / "catalogue")
    for verdict in ("REPRODUCED", "INCONCLUSIVE", "INFRA"):
        source = CONCLUDE.replace("REPRODUCED", verdict).replace("a cause", "a \\x1b[31mcause\\x00 <&>")
        shelf.add(verdict.lower(), end=code(source.strip()))
    run(shelf, folder / "out", "-j", 2, "--expect", "REPRODUCED")
    return shelf, folder / "out"


def test_a_ci_system_sees_each_case_as_the_exit_code_does(told):
    _, out = told
    [suite] = ET.parse(out / "index.junit.xml").getroot()
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    cases = {case.get("name"): case for case in suite}
    assert cases["reproduced"].find("failure") is None
    assert cases["inconclusive"].find("failure").get("message").startswith("INCONCLUSIVE where REPRODUCED was expected")
    assert cases["infra"].find("error").get("message").endswith("a cause <&>")
    assert cases["infra"].find("properties/property[@name='verdict']").get("value") == "INFRA"


def test_the_index_of_a_run_names_the_other_reports_in_its_folder_apart(told):
    shelf, out = told
    ended = run(shelf, out, "reproduced", "--json")
    index = json.loads(ended.stdout)
    assert [row["case"] for row in index["results"]] == ["reproduced"]
    assert [row["case"] for row in index["earlier"]] == ["inconclusive", "infra"]
    assert "of an earlier run" in (out / "index.html").read_text()


def test_triage_index_gathers_the_runs_of_many_folders(told, tmp_path):
    _, out = told
    for node in ("mi300", "mi355"):
        (tmp_path / "nodes" / node).mkdir(parents=True)
        for case in out.glob("*/result.json"):
            target = tmp_path / "nodes" / node / case.parent.name
            target.mkdir()
            text = json.loads(case.read_text()) | {"node": node}
            (target / "result.json").write_text(json.dumps(text))
    command = [sys.executable, "-m", "triage.cli", "index", str(tmp_path / "nodes"), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout)["results"]
    assert sorted((row["node"], row["report"]) for row in rows) == sorted(
        (node, f"{node}/{case}/report.html")
        for node in ("mi300", "mi355")
        for case in ("inconclusive", "infra", "reproduced")
    )


@pytest.mark.parametrize(("name", "sentence"), [("none", "is not a folder"), ("empty", "There is no result.json")])
def test_a_folder_without_results_is_bad_input(tmp_path, name, sentence):
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "triage.cli", "index", str(tmp_path / name)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
