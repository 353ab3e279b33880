"""Parameters are checked before any kernel starts, and never converted silently."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.errors import InputError, ParameterError
from triage.report._parameters import check_parameters, parse_parameters, read_parameters

CELL = parse_parameters(
    '''"""What the notebook takes."""
# a comment of its own
revision: str = "main"  # which snapshot
repeat: int = 20  # how often  # really
ratio: float = 0.5
strict: bool = True
limits: dict[str, int] = {"image": 1}  # per prompt
texts: list[str] = [
    "a",
    "b",
]  # the texts
impl: Literal["auto", "vllm"] = "auto"
seed: int | None = None
label: str | None = None
'''
)


def test_a_parameter_carries_its_type_default_and_help():
    by_name = {p.name: p for p in CELL}
    assert (by_name["revision"].default, by_name["revision"].help) == ("main", "which snapshot")
    assert by_name["repeat"].help == "how often  # really"
    assert (by_name["texts"].annotation, by_name["texts"].help) == ("list[str]", "the texts")
    assert by_name["seed"].default is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("revision=007", "007"),
        ("revision=", ""),
        ("revision= a=b ", " a=b "),
        ('revision="quoted"', '"quoted"'),
        ("repeat=3", 3),
        ("ratio=1", 1.0),
        ("strict=false", False),
        ('limits={"image": 0}', {"image": 0}),
        ('texts=["x, y"]', ["x, y"]),
        ("impl=vllm", "vllm"),
        ("seed=null", None),
        ("seed=4", 4),
        ("label=null", None),
        ("label=true", "true"),
        ('label="x"', '"x"'),
    ],
)
def test_a_text_is_read_by_the_type_of_its_parameter(text, value):
    [read] = check_parameters(CELL, texts=[text]).values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "repeat=007",
        "repeat=3.0",
        "repeat=true",
        'repeat="3"',
        "repeat=",
        "strict=1",
        "strict=True",
        "limits=image",
        'limits={"image": "1"}',
        "texts=a,b",
        "impl=transformers",
        "seed=none",
    ],
)
def test_a_text_of_another_type_is_refused(text):
    with pytest.raises(ParameterError, match=text.partition("=")[0]):
        check_parameters(CELL, texts=[text])


@pytest.mark.parametrize("value", [{"repeat": "3"}, {"repeat": True}, {"revision": 7}, {"texts": "ab"}])
def test_a_value_of_a_case_is_not_converted_either(value):
    with pytest.raises(ParameterError):
        check_parameters(CELL, values=value)


@pytest.mark.parametrize("text", ["x=NaN", "x=Infinity", "x=-Infinity", "y=[0.5, NaN]"])
def test_a_number_that_json_cannot_carry_is_refused_rather_than_turned_into_none(text):
    cell = parse_parameters("x: float = 1.0\ny: list[float] = []")
    with pytest.raises(ParameterError, match="is not finite"):
        check_parameters(cell, texts=[text])


def test_all_problems_come_in_one_message():
    with pytest.raises(ParameterError) as caught:
        check_parameters(
            CELL, values={"limits": 3}, texts=["repaet=3", "=5", "strict", "seed=x", "impl=vllm", "impl=auto"]
        )
    message = caught.value.message
    assert message.startswith("6 parameters of the notebook are wrong")
    for part in (
        "limits: 3 is not dict[str, int]",
        "repaet: unknown; did you mean repeat?",
        "'=5' has no name",
        "'strict' has no '='; write NAME=VALUE",
        "seed: 'x' is not int | None",
        "impl: given twice",
    ):
        assert part in message
    assert "revision (str)" in caught.value.hint


def test_python_spellings_are_pointed_to_json():
    with pytest.raises(ParameterError, match="write true"):
        check_parameters(CELL, texts=["strict=True"])


@given(st.text())
def test_any_text_reaches_a_str_parameter_verbatim(text):
    assert check_parameters(CELL, texts=[f"revision={text}"]) == {"revision": text}


@given(st.dictionaries(st.text(), st.integers(min_value=-(2**63), max_value=2**63 - 1)))
def test_json_that_fits_the_type_is_read_as_it_is(value):
    assert check_parameters(CELL, texts=[f"limits={json.dumps(value)}"]) == {"limits": value}


@given(st.text(min_size=1))
def test_no_text_makes_the_check_fail_in_another_way(text):
    for name in ("repeat", "strict", "limits", "impl", "seed"):
        with contextlib.suppress(ParameterError):
            check_parameters(CELL, texts=[f"{name}={text}"])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("x: int = len('a')", "not a literal"),
        ("import os", "only `name: type = literal`"),
        ("x: Path = 'a'", "the type Path"),
        ("x: __import__('os') = 1", "the type __import__"),
        ("x: int =", "invalid syntax"),
    ],
)
def test_a_cell_that_is_not_made_of_literals_is_an_input_error_with_its_line(tmp_path, line, problem):
    notebook = tmp_path / "n.ipynb"
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["a: int = 1\n", line]}
    notebook.write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(InputError, match=rf"n\.ipynb: the parameters cell, line 2: .*{problem}"):
        read_parameters(notebook)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"cells": 3}', "\xff"])
def test_a_file_that_is_no_notebook_is_an_input_error(tmp_path, content):
    (tmp_path / "n.ipynb").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match="is not a notebook"):
        read_parameters(tmp_path / "n.ipynb")


def test_a_notebook_without_a_parameters_cell_takes_none(tmp_path):
    (tmp_path / "n.ipynb").write_text('{"cells": []}')
    assert read_parameters(tmp_path / "n.ipynb") == ()
    with pytest.raises(ParameterError) as caught:
        check_parameters((), texts=["a=1"])
    assert "takes no parameters" in caught.value.hint
