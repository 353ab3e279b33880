"""`triage new`: from a failure to a case file that runs as it is."""

import json
import subprocess
import sys
import tomllib

import pytest

from triage.cases import draft_case, read_cases, render_case, write_case
from triage.errors import InputError
from triage.report import plan_cases, read_parameters
from triage.result import Family

PULL = "https://github.com/vllm-project/vllm/pull/44952"
TEST = "tests/models/multimodal/generation/test_common.py -k gemma3-transformers"


def run_new(folder, *words):
    command = [sys.executable, "-m", "triage.cli", "new", *words, "--catalogue", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_new_case_can_be_run_at_once_with_the_parameters_it_was_given(tmp_path):
    words = ("warm-up", "--family", "gpu_hang", "--upstream", PULL, "--test", TEST)
    done = run_new(tmp_path, *words, "-p", 'implicit_limits={"image": 3}', "--json")
    answer = json.loads(done.stdout)

    [plan] = plan_cases(read_cases(tmp_path), ids=["warm-up"], folder=tmp_path)
    assert plan.parameters["implicit_limits"] == {"image": 3}
    assert plan.case.test == TEST
    assert answer["command"] == f"triage run warm-up --catalogue {tmp_path}"
    assert answer["file"] == str(tmp_path / "warm-up.toml")


def test_every_parameter_of_the_notebook_stands_in_the_file_and_holds_its_default_once_uncommented():
    case = draft_case("mine", family=Family.GPU_HANG, upstream=PULL, test=TEST)
    known = read_parameters(case.notebook_path)
    text = render_case(case, known=known)
    assert "parameters" not in tomllib.loads(text)["title"]
    bare = text.replace("\n# ", "\n")
    assert tomllib.loads(bare)["parameters"] == {p.name: p.default for p in known if p.name != "case_id"}


def test_a_case_that_is_there_is_never_overwritten(tmp_path):
    case = draft_case("mine", family=Family.TOKEN_COUNT, upstream=PULL, test=TEST)
    path = write_case(case, tmp_path)
    path.write_text(path.read_text() + "# my notes\n")
    path.rename(tmp_path / "renamed.toml")
    with pytest.raises(InputError, match="has a case mine already"):
        write_case(case, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["renamed.toml"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("My Case", "--family", "token_count", "--upstream", PULL, "--test", TEST), "id: String should match"),
        (("mine", "--family", "token_count", "--upstream", "ftp://x", "--test", TEST), "upstream: String should match"),
        (("mine", "--family", "gpu_fault", "--upstream", PULL, "--test", TEST), "No notebook investigates gpu_fault"),
        (("mine", "--family", "colour", "--upstream", PULL, "--test", TEST), "'colour' is not one of"),
        (
            ("mine", "--family", "token_count", "--upstream", PULL, "--test", TEST, "-p", "repaet=2"),
            "did you mean repeat",
        ),
    ],
)
def test_a_wrong_word_is_one_sentence_and_writes_nothing(tmp_path, words, said):
    done = run_new(tmp_path / "cases", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "cases").exists()
