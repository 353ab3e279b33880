"""Every notebook, executed top to bottom on real vLLM for its first case: what `make report` does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from triage import Verdict
from triage.result import Result, read_result

pytestmark = pytest.mark.engine

VERDICTS = {
    "ci-log": Verdict.MECHANISM,
    "e5-token-count": Verdict.REPRODUCED,
    "flaky-set-order": Verdict.FLAKY,
    "gemma3-legacy-keys": Verdict.REPRODUCED,
    "gritlm-server-defaults": Verdict.MECHANISM,
    "qwen25vl-video-warmup": Verdict.MECHANISM,
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of these cases, two at a time."""
    out = tmp_path_factory.mktemp("reports")
    command = [sys.executable, "-m", "triage.cli", "run", *VERDICTS, "--out", str(out), "-j", "2"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(params=VERDICTS)
def result(reports: Path, request: pytest.FixtureRequest) -> Result:
    return read_result(reports / request.param / "result.json")


@pytest.mark.timeout(1800)
def test_each_case_reaches_its_verdict_on_a_cpu(result):
    assert result.verdict is VERDICTS[result.case], result.cause


def test_a_mechanism_says_what_needs_a_gpu(result):
    assert bool(result.needs_gpu) is (result.verdict is Verdict.MECHANISM)


def test_each_result_carries_versions_snapshots_and_a_next_command(result):
    assert all(result.versions[name] for name in ("vllm", "transformers", "tokenizers", "torch", "python", "triage"))
    assert result.snapshots
    assert all(result.snapshots.values())
    assert result.next_command.startswith(("triage run ", "triage tokens ", "triage verify "))
    assert len(result.evidence) >= 4


def test_each_notebook_finished_every_cell_without_noise(result, reports):
    notebook = json.loads((reports / result.case / "notebook.ipynb").read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip():
            assert "shell.execute_reply" in cell["metadata"]["execution"]
            streams = [o for o in cell["outputs"] if o["output_type"] == "stream" and o["name"] == "stderr"]
            assert not streams, streams


def test_each_page_stands_alone(result, reports):
    page = (reports / result.case / "report.html").read_text()
    assert result.verdict.replace("_", " ") in page
    assert "<script" not in page
    assert 'src="http' not in page
    assert str(reports) not in page


def test_the_installed_pair_of_the_checkpoint_case_stands_beside_the_historical_one(reports):
    arms = read_result(reports / "gemma3-legacy-keys" / "result.json").arms
    assert [arm.verdict for arm in arms if arm.name.startswith("installed")] == [Verdict.NOT_REPRODUCED]
    assert Verdict.REPRODUCED in {arm.verdict for arm in arms if arm.name.startswith("historical")}
