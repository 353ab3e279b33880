"""The smallest set of differences that flips a command is found, also of two that do harm only together."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from triage.errors import InputError
from triage.settings import BisectResult, EnvironmentCapture, bisect_environment, plan_bisect
from triage.settings._minimise import ddmin, minimise

GOOD = EnvironmentCapture(captured="now", variables={"KEPT": "1", "BATCH": "4"}, arguments=("--dtype", "float32"))


def make_bad(**variables: str) -> EnvironmentCapture:
    return GOOD.model_copy(update={"variables": {"KEPT": "1", **variables}})


def fail_if(condition: str) -> list[str]:
    return [sys.executable, "-S", "-c", f"import os, sys; e = os.environ.get; sys.exit(1 if {condition} else 0)"]


def bisect(bad: EnvironmentCapture, command: list[str], **options: object) -> BisectResult:
    return bisect_environment(plan_bisect(GOOD, bad), command, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_planted_sets_are_found_whatever_their_places(size: int, seed: int):
    planted = set(random.Random(seed).sample(range(60), size))
    found = minimise(60, lambda places: planted <= set(places))
    assert set(found.places) == planted
    assert found.is_minimal


@pytest.mark.parametrize("seed", range(20))
def test_outcomes_that_are_not_monotone_still_end_with_a_set_that_fails_and_is_minimal(seed: int):
    seeded = random.Random(seed)
    rules = [set(seeded.sample(range(12), 3)) for _ in range(3)]
    shield = seeded.randrange(12)

    def fails(places: tuple[int, ...]) -> bool:
        held = set(places)
        return len(held) == 12 or (any(rule <= held for rule in rules) and shield not in held)

    found = minimise(12, fails)
    assert fails(found.places)
    assert not any(fails(tuple(p for p in found.places if p != place)) for place in found.places)


def test_ddmin_alone_finds_one_of_two_independent_causes():
    assert ddmin(tuple(range(20)), lambda places: bool({3, 15} & set(places))) in {(3,), (15,)}


def test_a_variable_that_makes_a_command_fail_is_found():
    result = bisect(make_bad(A="1", B="1", C="1", BATCH="4"), fail_if("e('B')"))
    assert [d.name for d in result.culprits] == ["B"]


def test_two_that_fail_only_together_are_found_an_unset_one_among_them():
    result = bisect(make_bad(A="1", B="", C="3", D="4"), fail_if("'BATCH' not in os.environ and e('B') == ''"))
    assert {d.name for d in result.culprits} == {"BATCH", "B"}
    assert result.is_minimal


def test_arguments_are_switched_where_the_command_says(tmp_path: Path):
    bad = GOOD.model_copy(update={"arguments": ("--dtype", "bfloat16", "--max-num-seqs", "8")})
    code = "import sys; sys.exit('bfloat16' in sys.argv and sys.argv[-1] == 'end')"
    result = bisect(bad, [sys.executable, "-S", "-c", code, "{arguments}", "end"])
    assert [(d.name, d.before, d.after) for d in result.culprits] == [("--dtype", "float32", "bfloat16")]


def test_a_flaky_failure_is_found_by_repeating(tmp_path: Path):
    count = tmp_path / "count"
    count.write_text("0")
    code = (
        f"import os, sys, pathlib; p = pathlib.Path({str(count)!r}); n = int(p.read_text()) + 1; p.write_text(str(n));"
        "sys.exit(1 if os.environ.get('B') and n % 3 == 0 else 0)"
    )
    result = bisect(make_bad(A="1", B="1", C="1", BATCH="4"), [sys.executable, "-S", "-c", code], runs=6)
    assert [d.name for d in result.culprits] == ["B"]
    assert 0 < result.rate < 1


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [("True", "fails with the first capture, too"), ("False", "did not fail in 2 runs")],
)
def test_a_command_that_always_or_never_fails_is_one_sentence(condition: str, sentence: str):
    with pytest.raises(InputError, match=sentence):
        bisect(make_bad(A="1"), fail_if(condition), runs=2)


def test_a_run_that_takes_too_long_is_neither_failed_nor_passed():
    with pytest.raises(InputError, match="did not fail"):
        bisect(make_bad(A="1", BATCH="4"), ["sh", "-c", 'test -z "$A" || sleep 60'], timeout_s=0.3)


def test_captures_that_differ_in_nothing_to_switch_are_one_sentence():
    other = GOOD.model_copy(update={"machine": {"kernel": "6.8"}, "variables": {**GOOD.variables, "PATH": "/bin"}})
    with pytest.raises(InputError, match="nothing that can be switched"):
        plan_bisect(GOOD, other)


def test_a_value_that_was_not_recorded_is_named_and_not_switched():
    plan = plan_bisect(GOOD, make_bad(HF_TOKEN="(not recorded)", A="1"))
    assert [d.name for d in plan.changes] == ["A", "BATCH"] or "HF_TOKEN" not in [d.name for d in plan.changes]
    assert any("HF_TOKEN" in text and "not recorded" in text for text in plan.fixed)


def test_it_goes_on_from_its_state_and_runs_nothing_twice(tmp_path: Path):
    log, state = tmp_path / "log", tmp_path / "state.json"
    command = ["sh", "-c", f'echo x >> {log}; test -z "$B"']
    bad = make_bad(A="1", B="1", C="1", BATCH="4")
    told: list[str] = []
    first = bisect(bad, command, state=state, on_progress=told.append)
    assert len(told) == len(first.trials) == len(log.read_text().split())
    whole = json.loads(state.read_text())
    known = dict(list(whole["trials"].items())[:3])
    state.write_text(json.dumps(whole | {"trials": known}))
    again = bisect(bad, command, state=state)
    assert again.culprits == first.culprits
    assert len(log.read_text().split()) == 2 * len(first.trials) - 3


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 1, "key": "other", "trials": {}}'])
def test_a_state_of_something_else_is_one_sentence(tmp_path: Path, content: str):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(InputError, match=r"state\.json"):
        bisect(make_bad(A="1"), fail_if("e('A')"), state=tmp_path / "state.json")


def test_the_command_line_finds_a_pair_and_names_it(tmp_path: Path):
    bad = make_bad(**{f"NAME_{n}": "1" for n in range(6)}, BATCH="4")
    for name, capture in {"a": GOOD, "b": bad}.items():
        (tmp_path / name).write_text(capture.to_json())
    words = ["env", "bisect", str(tmp_path / "a"), str(tmp_path / "b"), "--json", "--"]
    command = [sys.executable, "-m", "triage.cli", *words, *fail_if("e('NAME_1') and e('NAME_4')")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert [row["name"] for row in answer["culprits"]] == ["NAME_1", "NAME_4"]
    assert "try 1:" in done.stderr
