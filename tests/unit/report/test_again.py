"""The command that runs a case once more."""

import shlex
import threading
from pathlib import Path

import pytest

from triage import read_case
from triage.report import plan_cases, reproduce_cases
from triage.report._again import name_command
from triage.report._parameters import check_parameters, parse_parameters
from triage.result import Verdict, read_result

CASE = read_case("e5-token-count")


def test_a_stopped_run_says_how_to_run_it_again_with_what_the_user_gave(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["query=Who is 'it'?", "repeat=3", "limit=10"]  # the limit is the case's own
    stop = threading.Event()
    stop.set()
    (result,) = reproduce_cases(plan_cases([CASE], texts=given), Path("my out"), stop=stop)
    assert result.verdict is Verdict.INCOMPLETE
    assert result == read_result(Path("my out", CASE.id, "result.json"))
    words = shlex.split(result.next_command)
    assert words == ["triage", "run", CASE.id, "--out", "my out", "-p", "query=Who is 'it'?", "-p", "repeat=3"]


def test_a_case_without_anything_given_is_run_again_as_it_is(tmp_path):
    again = name_command(CASE, parameters=CASE.parameters | {"case_id": CASE.id}, out=Path("reports"))
    assert again == "triage run e5-token-count"
    assert name_command(CASE, parameters={}, out=Path("reports"), catalogue=Path("own")).endswith("--catalogue own")


@pytest.mark.parametrize("value", [True, None, 0.5, ["a b", "c"], {"image": 1}, "007", "a=b", ""])
def test_a_parameter_given_again_is_the_same_value(value):
    kinds = {bool: "bool", float: "float", list: "list[str]", dict: "dict[str, int]", str: "str"}
    known = parse_parameters(f"value: {kinds.get(type(value), 'int | None')} = {value!r}")
    words = shlex.split(name_command(CASE, parameters={"value": value}, out=Path("reports")))
    assert check_parameters(known, values={}, texts=[words[-1]], place="here") == {"value": value}
