"""What is quick to import stays quick."""

import subprocess
import sys

import pytest

HEAVY = "{'torch', 'vllm', 'transformers', 'pandas', 'matplotlib', 'papermill', 'nbconvert', 'nbformat', 'IPython'}"


@pytest.mark.parametrize(
    "statement",
    [
        "import triage",
        "import triage; triage.read_cases(); triage.Verdict",
        "import triage.cli",
        "from triage.report import conclude, open_report, show_figure, show_table",
        "from triage.cli._app import run_app; run_app(['--help'])",
    ],
)
def test_the_heavy_packages_stay_out(statement):
    code = f"{statement}\nimport sys; sys.exit(' '.join({HEAVY} & set(sys.modules)) or 0)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.strip()) == (0, "")
