"""`triage lab`: working copies of the notebooks, and a JupyterLab whose kernel is triage's own."""

import json
import os
import re
import subprocess
import sys
import time

import httpx
import nbformat
import pytest

from triage.cases import read_cases
from triage.report import audit_notebook, plan_cases, prepare_notebooks


@pytest.fixture
def plans():
    return plan_cases(read_cases(), ids=["e5-token-count"], texts=["repeat=3"])


def read_source(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_a_working_copy_has_the_parameters_of_its_case_behind_the_defaults(plans, tmp_path):
    [path] = prepare_notebooks(plans, tmp_path / "lab")
    defaults, injected = read_source(path)[:2]
    assert "repeat: int = 20" in defaults
    assert "repeat = 3\n" in injected
    names: dict[str, object] = {}
    exec(defaults + "\n" + injected, names)
    assert {name: names[name] for name in plans[0].parameters} == plans[0].parameters
    nbformat.validate(nbformat.read(path, as_version=4))
    assert not audit_notebook(json.loads(path.read_text())).complete


def test_a_copy_that_somebody_has_worked_on_is_left_alone(plans, tmp_path):
    [path] = prepare_notebooks(plans, tmp_path)
    path.write_text("my notes")
    assert prepare_notebooks(plans, tmp_path) == (path,)
    assert path.read_text() == "my notes"


def test_jupyterlab_serves_the_copy_and_its_kernel_is_this_interpreter(tmp_path):
    """A kernel of the same name in the user's home, of another environment, must not be taken."""
    home = tmp_path / "home"
    foreign = home / ".local/share/jupyter/kernels/python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "other"}))
    words = [sys.executable, "-m", "triage.cli", "lab", "e5-token-count", "--no-browser", "--port", "18988"]
    env = os.environ | {"HOME": str(home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url = next(
                filter(None, (re.search(r"http://127\.0\.0\.1:\d+/lab\S*token=\w+", line) for line in process.stderr))
            )
            base, _, token = url.group().partition("/lab")
            with httpx.Client(base_url=base, headers={"Authorization": f"token {token.rpartition('=')[2]}"}) as lab:
                listed = lab.get("/api/contents/").json()["content"]
                assert [entry["name"] for entry in listed] == ["e5-token-count.ipynb"]
                assert base.endswith(":18988")
                assert url.group().startswith(f"{base}/lab/tree/e5-token-count.ipynb")
                kernel = lab.post("/api/kernels", json={"name": "python3"}).json()
                assert wait_for_kernel(process.pid, sys.executable)
                assert lab.delete(f"/api/kernels/{kernel['id']}").status_code == 204
        finally:
            process.terminate()
            process.wait(30)


def wait_for_kernel(pid: int, interpreter: str) -> bool:
    import psutil

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(pid).children(recursive=True):
            line = child.cmdline()
            if line[:1] == [interpreter] and "ipykernel_launcher" in line:
                return True
        time.sleep(0.05)
    return False
