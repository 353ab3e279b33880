"""A question to vLLM runs in a process of its own, and comes back as JSON, as the right error, or not at all."""

import psutil
import pytest

from triage.engine._names import load_name
from triage.engine._probe import run_probe
from triage.errors import CheckpointError, EngineError, UnsupportedVersionError


def test_the_answer_comes_back_as_json() -> None:
    assert run_probe("textwrap:wrap", {"text": "one two", "width": 3}) == ["one", "two"]


def test_a_triage_error_of_the_probe_is_raised_again_as_the_same_class_with_its_hint() -> None:
    with pytest.raises(CheckpointError, match="e7") as caught:
        run_probe("triage.engine.models:find_model", {"reference": "tiny:e7"})
    assert "e5-metaspace" in caught.value.hint


def test_a_probe_that_dies_says_with_which_code() -> None:
    with pytest.raises(EngineError, match="exit code 7"):
        run_probe("os:_exit", {"status": 7})


def test_a_probe_that_takes_too_long_is_ended_with_its_children() -> None:
    with pytest.raises(EngineError, match="within 2 s"):
        run_probe("subprocess:run", {"args": ["sleep", "61"]}, timeout_s=2.0)
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "61"]]


def test_a_variable_that_is_laid_over_the_environment_reaches_the_probe() -> None:
    answer = run_probe("os:getenv", {"key": "TRIAGE_PROBED"}, env={"TRIAGE_PROBED": "yes"})
    assert answer == "yes"


def test_a_name_that_vllm_keeps_elsewhere_is_an_unsupported_version_in_one_sentence() -> None:
    with pytest.raises(UnsupportedVersionError, match="keeps sqrt in none of math_of_old, json") as caught:
        load_name("sqrt", homes={"sqrt": ("math_of_old", "json")})
    assert "_names.py" in caught.value.hint
