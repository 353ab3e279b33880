"""A notebook worked with by hand: JupyterLab as `triage lab` opens it, in a real browser."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import nbformat
import pytest
from playwright.sync_api import Browser, Page, expect

CELLS = (
    "wait_s: float = 3.0  # seconds that the work takes",
    "import time\n\nfrom triage.report import conclude, open_report, show_progress\nfrom triage.result import Result",
    "open_report('mine')",
    "with show_progress('vLLM is starting'):\n    time.sleep(wait_s)",
    "conclude(Result(case='mine', family='unknown', verdict='NOT_REPRODUCED', cause='seen by hand', next_command='x'))",
)
CASE = """
id = "mine"
family = "unknown"
title = "Mine"
upstream = "https://github.com/vllm-project/vllm/pull/1"
test = "tests/t.py"
notebook = "mine.ipynb"
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab on a case of a private catalogue; the address of the case's working copy."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    (folder / "mine.ipynb").write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))
    (folder / "mine.toml").write_text(CASE)
    words = ["lab", "mine", "--catalogue", str(folder), "--no-browser", "--port", "18989"]
    env = os.environ | {"HOME": str(folder), "PYTHONUNBUFFERED": "1"}
    env.pop("TRIAGE_PROGRESS", None)
    command = [sys.executable, "-m", "triage.cli", *words]
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            pattern = re.compile(r"http://127\.0\.0\.1:\d+/lab\S*token=\w+")
            found = next(match for line in process.stderr if (match := pattern.search(line)))
            yield found[0]
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def lab(chromium: Browser, address: str) -> Iterator[Page]:
    page = chromium.new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    yield page
    page.close()


def run_all(page: Page) -> None:
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()


def test_the_banner_is_set_by_the_last_cell_and_no_progress_is_left(lab: Page) -> None:
    run_all(lab)
    expect(lab.get_by_text(re.compile(r"vLLM is starting … [12] s"))).to_be_visible(timeout=60_000)
    expect(lab.get_by_text("NOT REPRODUCED").first).to_be_visible(timeout=60_000)
    expect(lab.get_by_text("INCOMPLETE")).to_have_count(0)
    expect(lab.get_by_text(re.compile("vLLM is starting … "))).to_have_count(0)


def test_a_cell_that_is_interrupted_can_be_run_again(lab: Page) -> None:
    run_all(lab)
    expect(lab.get_by_text(re.compile(r"vLLM is starting … 1 s"))).to_be_visible(timeout=60_000)
    lab.locator("[data-command='notebook:interrupt-kernel'], [title^='Interrupt the kernel']").first.click()
    expect(lab.get_by_text("KeyboardInterrupt").first).to_be_visible()
    expect(lab.get_by_text(re.compile("vLLM is starting … "))).to_have_count(0)
    expect(lab.get_by_text("INCOMPLETE").first).to_be_visible()
    run_all(lab)
    expect(lab.get_by_text("NOT REPRODUCED").first).to_be_visible(timeout=60_000)
    expect(lab.get_by_text("KeyboardInterrupt")).to_have_count(0)
