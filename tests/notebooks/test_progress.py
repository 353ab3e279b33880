"""The line that long work shows: there while somebody looks on, gone afterwards, never in a report."""

import json
import os
import sys

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from triage.report import execute_notebook

LONG = (
    "from triage.report import show_progress\nimport time\nwith show_progress('vLLM is starting'):\n    time.sleep(2.5)"
)
BROKEN = LONG.replace("time.sleep(2.5)", "raise KeyboardInterrupt")


class Kernel(KernelManager):
    @property
    def kernel_spec(self):
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


class Onlooker(NotebookClient):
    """Keeps every state that the line went through, as a front end would show it."""

    def __init__(self, source):
        cell = nbformat.v4.new_code_cell(source)
        super().__init__(nbformat.v4.new_notebook(cells=[cell]), kernel_manager_class=Kernel, timeout=60)
        self.seen = []

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] in {"display_data", "update_display_data"}:
            self.seen.append(msg["content"]["data"]["text/plain"])
        return super().process_message(msg, cell, cell_index)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("source", [LONG, BROKEN], ids=["ended", "interrupted"])
def test_the_line_counts_the_seconds_and_is_empty_at_the_end(source, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("TRIAGE_PROGRESS", raising=False)
    onlooker = Onlooker(source)
    if source is BROKEN:
        with pytest.raises(CellExecutionError):
            onlooker.execute()
    else:
        onlooker.execute()
        assert "vLLM is starting … 1 s" in onlooker.seen
    assert onlooker.seen[0] == "vLLM is starting …"
    assert onlooker.seen[-1] == ""
    [shown] = [o for o in onlooker.nb.cells[0].outputs if o.output_type == "display_data"]
    assert shown.data == {"text/plain": ""}


def test_a_notebook_that_is_run_for_its_report_has_no_such_line(tmp_path):
    source = tmp_path / "long.ipynb"
    source.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LONG)])))
    execute_notebook(source, tmp_path / "out.ipynb", folder=tmp_path, log=tmp_path / "log", env=dict(os.environ))
    [cell] = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    assert cell["outputs"] == []
