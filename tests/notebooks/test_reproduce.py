"""Real notebooks in real kernels, some of which die."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

import triage
from tests.notebooks.shelf import Shelf, code, parameters, prose
from triage.errors import InputError, ParameterError, StorageError
from triage.redaction import redact_text
from triage.report import reproduce_case
from triage.result import Verdict, read_result

DEATHS = {
    "os._exit": ("import os; os._exit(0)", "it exited with status 0"),
    "SIGKILL": ("import os; os.kill(os.getpid(), 9)", "it was ended by SIGKILL"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "it was ended by SIGSEGV"),
}


def reproduce(shelf: Shelf, case, out: Path, **options):
    return reproduce_case(case, out, notebook=shelf.find(case), **options)


def read_notebook(folder: Path):
    return json.loads((folder / "notebook.ipynb").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One notebook that shows everything a notebook can show, run once."""
    folder = tmp_path_factory.mktemp("finished")
    shelf = Shelf(folder / "catalogue")
    case = shelf.add(
        "whole",
        parameters('repeat: int = 20  # how often\nname: str = "main"\ncase: str = ""'),
        prose("# Which text?\n\nThe **question**."),
        prose("## A table\n\nOne sentence."),
        code(
            "import pandas as pd\n"
            'show_table(pd.DataFrame({"<b>": ["</td><script>x</script>"]}), caption="Counts & <more>")'
        ),
        code(
            "other = pd.DataFrame({'count': [285]}, index=pd.Index(['0.24'], name='since'))\n"
            "show_table(other, caption='Labelled rows')"
        ),
        code("import matplotlib.pyplot as plt\nf, a = plt.subplots()\nshow_figure(f, alt='A bar, \"one\" token high')"),
        code("from tqdm.auto import tqdm\nfor _ in tqdm(range(50)): pass\nprint(repeat, name, case)"),
        code('import sys, os\nopen("scratch.txt", "w").write("kept")\nprint(sys.executable, os.environ["MPLBACKEND"])'),
        parameters="repeat = 3",
    )
    before = os.environ.get("JUPYTER_PATH")
    # A kernel of the same name that comes first on the path, and is of another environment.
    spec = folder / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    os.environ["JUPYTER_PATH"] = str(folder / "jupyter")
    try:
        case = case.model_copy(update={"parameters": {"repeat": 3}})
        result = reproduce(shelf, case, folder / "out", parameters={"name": "007"})
    finally:
        os.environ.pop("JUPYTER_PATH")
        if before is not None:
            os.environ["JUPYTER_PATH"] = before
    return result, folder / "out" / "whole"


def test_a_finished_run_leaves_its_result_with_what_only_the_runner_knows(finished):
    result, folder = finished
    assert result == read_result(folder / "result.json")
    assert (result.verdict, result.case, result.cause) == (Verdict.REPRODUCED, "whole", "a cause")
    assert result.parameters == {"case": "whole", "repeat": 3, "name": "007"}
    assert result.started is not None
    assert result.duration_s > 0
    assert result.versions["papermill"]


def test_the_parameters_reach_the_notebook_unchanged(finished):
    _, folder = finished
    assert "3 007 whole" in (folder / "notebook.ipynb").read_text()


def test_the_kernel_is_of_this_interpreter_whatever_kernelspec_comes_first(finished):
    import sys

    _, folder = finished
    assert f"{redact_text(sys.executable)} module://matplotlib_inline" in (folder / "notebook.ipynb").read_text()


def test_the_banner_at_the_top_shows_the_final_verdict(finished):
    _, folder = finished
    banner = next(c for c in read_notebook(folder)["cells"] if "open_report(" in "".join(c["source"]))
    assert "REPRODUCED" in "".join(banner["outputs"][0]["data"]["text/html"])


def test_row_labels_are_shown_unless_they_only_count_the_rows(finished):
    from bs4 import BeautifulSoup

    _, folder = finished
    page = BeautifulSoup((folder / "report.html").read_text(), "html.parser")
    tables = {table.caption.text: table for table in page.find_all("table")}
    assert [h.text for h in tables["Labelled rows"].find_all("th", scope="row")] == ["0.24"]
    assert tables["Counts & <more>"].find("th", scope="row") is None


def test_progress_bars_stay_out_of_the_executed_notebook(finished):
    _, folder = finished
    text = (folder / "notebook.ipynb").read_text()
    assert "it/s" not in text
    assert "IProgress" not in text


def test_the_record_holds_no_path_of_this_machine(finished):
    _, folder = finished
    assert read_notebook(folder)["metadata"]["papermill"]["input_path"] == "whole.ipynb"


def test_neither_the_files_nor_the_result_name_a_home_a_checkout_a_host_or_a_secret(shelf, tmp_path, monkeypatch):
    home, secret = tmp_path / "home of alice", "hf_abcdefghijkl"
    held = [a.address for addresses in psutil.net_if_addrs().values() for a in addresses if a.family == socket.AF_INET]
    own_addresses = [address for address in held if not address.startswith("127.")]
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", secret)
    case = shelf.add(
        "failing",
        parameters('folder: str = ""'),
        code("import os, sys, socket, triage\nprint(os.environ['HF_TOKEN'], socket.gethostname() + ':8000')"),
        code(f"os.system('echo $HOME/x $HF_TOKEN'); print(triage.__file__, 'at', {own_addresses})"),
        code("from triage.engine.models import find_model\nfind_model(folder)"),
    )
    result = reproduce_case(
        case, tmp_path / "out", notebook=shelf.find(case), parameters={"folder": str(home / "model")}
    )
    assert result.cause.startswith("~/model is not a model folder.")
    assert result.parameters == {"folder": "~/model"}
    forbidden = [str(home), secret, *own_addresses, str(Path(triage.__file__).parents[1])]
    forbidden += [f"{socket.gethostname()}:8000"] if len(socket.gethostname()) > 3 else []
    for file in (tmp_path / "out" / "failing").glob("*.*"):
        text = file.read_text()
        assert [word for word in forbidden if word in text] == [], file.name


def test_files_that_a_notebook_writes_lie_in_its_work_folder(finished):
    _, folder = finished
    assert (folder / "work" / "scratch.txt").read_text() == "kept"


def test_the_page_shows_tables_and_pictures_that_can_be_read_aloud(finished):
    from bs4 import BeautifulSoup

    _, folder = finished
    page = BeautifulSoup((folder / "report.html").read_text(), "html.parser")
    table = next(t for t in page.find_all("table") if t.caption.text == "Counts & <more>")
    assert table.find("th")["scope"] == "col"
    assert table.td.text == "</td><script>x</script>"
    assert page.img["alt"] == 'A bar, "one" token high'
    assert page.h1.text == "Which text?"
    assert [a.text for a in page.nav.find_all("a")][:2] == ["A table", "Parameters"]


@pytest.mark.parametrize("death", DEATHS)
def test_a_dead_kernel_is_incomplete_whatever_papermill_records(shelf, tmp_path, death):
    source, reason = DEATHS[death]
    case = shelf.add("dead", code("a = 1"), code(f"# a comment\n{source}"), prose("## Then"), code("b = 2"))
    result = reproduce(shelf, case, tmp_path / "out")
    assert result.verdict is Verdict.INCOMPLETE
    assert f"The kernel died in cell 3 (`{source}`): {reason}." in result.cause
    notebook = read_notebook(tmp_path / "out" / "dead")
    status = [c["metadata"]["papermill"]["status"] for c in notebook["cells"]]
    assert status == ["completed", "completed", "failed", "pending", "pending", "pending"]
    assert notebook["metadata"]["papermill"]["exception"] is True
    page = (tmp_path / "out" / "dead" / "report.html").read_text()
    assert "INCOMPLETE" in page
    assert "did not finish" in page


def test_an_error_in_a_cell_is_the_cause(shelf, tmp_path):
    case = shelf.add("error", code("counts = {}\ncounts['<b>']"))
    result = reproduce(shelf, case, tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert result.cause == "Cell 2 (`counts = {}`) raised KeyError: '<b>'."
    assert "&lt;b&gt;" in (tmp_path / "error" / "report.html").read_text()


@pytest.mark.parametrize(
    ("kind", "verdict"), [("EngineError", Verdict.INCOMPLETE), ("MissingDependencyError", Verdict.INFRA)]
)
def test_an_error_of_triage_gives_its_message_and_its_mend(shelf, tmp_path, kind, verdict):
    case = shelf.add(
        "told", code(f"from triage.errors import {kind}\nraise {kind}('It is gone.', hint='Bring it back.')")
    )
    result = reproduce(shelf, case, tmp_path)
    assert result.verdict is verdict
    assert result.cause.startswith("It is gone. Raised in cell 2")
    assert result.next_command == "Bring it back."


def test_a_notebook_that_leaves_early_with_success_did_not_finish(shelf, tmp_path):
    case = shelf.add("early", code("import sys; sys.exit(0)"))
    result = reproduce(shelf, case, tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "SystemExit" in result.cause


def test_a_failure_after_the_verdict_takes_the_verdict_back_but_keeps_the_evidence(shelf, tmp_path):
    source = (
        "conclude(Result(case='x', family='unknown', verdict='FLAKY', cause='c', next_command='n', findings={'n': 1}))"
    )
    case = shelf.add("after", code(f"from triage.result import Result\n{source}"), code("1 / 0"))
    result = reproduce(shelf, case, tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "ZeroDivisionError" in result.cause
    assert result.findings == {"n": 1}


def test_a_notebook_without_a_verdict_says_what_it_lacks(shelf, tmp_path):
    case = shelf.add("silent", code("conclude = lambda result: None"))
    result = reproduce(shelf, case, tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "conclude(result)" in result.cause


def test_outputs_that_were_stored_in_the_source_prove_nothing(shelf, tmp_path, finished):
    _, folder = finished
    executed = read_notebook(folder)
    case = shelf.add("stored", code("import os; os._exit(1)"))
    source = json.loads(shelf.find(case).read_text())
    source["cells"].append(dict(executed["cells"][-1], id="last"))  # its reply and its result came long ago
    for cell in source["cells"]:
        cell["metadata"]["execution"] = executed["cells"][-1]["metadata"]["execution"]
    shelf.find(case).write_text(json.dumps(source))
    result = reproduce(shelf, case, tmp_path / "out")
    assert result.verdict is Verdict.INCOMPLETE
    assert "cell 2" in result.cause


def test_the_children_of_a_notebook_are_gone_with_it(shelf, tmp_path, find_processes):
    mark = f"{300 + time.time_ns() % 10**6}"
    source = f"import subprocess\n_ = subprocess.Popen(['setsid', 'sh', '-c', 'sleep {mark} & sleep {mark}'])"
    case = shelf.add("children", code(source), code("import os; os._exit(1)"))
    reproduce(shelf, case, tmp_path)
    assert find_processes(mark) == []


def test_the_time_limit_is_for_the_whole_notebook(shelf, tmp_path):
    case = shelf.add("slow", *[code(f"import time; time.sleep({n})") for n in (1.01, 1.02, 300)])
    result = reproduce(shelf, case, tmp_path, timeout_s=12)
    assert result.verdict is Verdict.INCOMPLETE
    assert result.cause == "The time limit of the notebook, 12 s, ran out in cell 4 (`import time; time.sleep(300)`)."
    assert result.next_command == f"triage run slow --out {redact_text(str(tmp_path))} --timeout-s 24"


def test_a_case_that_is_stopped_before_it_begins_still_leaves_whole_files(shelf, tmp_path):
    case = shelf.add("never", code("1"))
    stop = threading.Event()
    stop.set()
    result = reproduce(shelf, case, tmp_path, stop=stop)
    assert result.verdict is Verdict.INCOMPLETE
    assert result.next_command == f"triage run never --out {redact_text(str(tmp_path))}"
    assert len(read_notebook(tmp_path / "never")["cells"]) == 3
    assert "not reached" in (tmp_path / "never" / "report.html").read_text()


def test_a_wrong_parameter_writes_nothing(shelf, tmp_path):
    case = shelf.add("wrong", parameters("repeat: int = 1"))
    with pytest.raises(ParameterError, match="repaet"):
        reproduce(shelf, case, tmp_path / "out", parameters={"repaet": 1})
    assert not (tmp_path / "out").exists()


def test_a_file_where_the_folder_should_be_is_an_input_error(shelf, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file, not a folder"):
        reproduce(shelf, shelf.add("any"), tmp_path / "out")


def test_no_report_of_an_earlier_run_survives_a_run_that_cannot_be_written(shelf, tmp_path, monkeypatch):
    case = shelf.add("stale")
    folder = tmp_path / "out" / "stale"
    folder.mkdir(parents=True)
    for name in ("report.html", "notebook.ipynb", "result.json"):
        (folder / name).write_text("of an earlier run")
    monkeypatch.setattr("triage.report._reproduce.execute_notebook", _raise)
    with pytest.raises(StorageError):
        reproduce(shelf, case, tmp_path / "out")
    assert read_result(folder / "result.json").verdict is Verdict.INCOMPLETE
    page = (folder / "report.html").read_text()
    assert "INCOMPLETE" in page
    assert "of an earlier run" not in page
    assert not (folder / "notebook.ipynb").exists()


def _raise(*_, **__):
    raise StorageError("full", hint="free some space")


def test_the_notebook_on_disk_is_whole_at_every_moment_of_the_run(shelf, tmp_path):
    case = shelf.add("big", *[code("print('x' * 3_000_000)", nth=n) for n in range(8)])
    path = tmp_path / "big" / "notebook.ipynb"
    sizes, ended = set(), threading.Event()

    def look():
        while not ended.is_set():
            if path.exists():
                sizes.add(len(json.loads(path.read_text())["cells"]) and path.stat().st_size)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        reproduce(shelf, case, tmp_path)
    finally:
        ended.set()
        looking.join()
    assert len(sizes) > 3, "it was seen while it grew"
