"""`triage verify` as a shell sees it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.verify.repository import ALWAYS, COMMAND, HALF, NEVER, Repository
from triage.cli._app import run_app


def triage(folder, *words, env=None):
    command = [sys.executable, "-m", "triage.cli", "verify", *map(str, words)]
    env = os.environ | (env or {})
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def verify(repository: Repository, patch: Path, *words, runs=4):
    out = repository.top.parent / "out"
    return triage(repository.place, "--patch", patch, "--runs", runs, "--out", out, "--json", *words, "--", *COMMAND)


def test_a_fix_that_works_is_verified_and_its_receipt_holds(repository, tmp_path):
    repository.write("notes.txt", "not committed")
    patch = repository.make_patch("sub/setting.py", NEVER)
    before = repository.look()
    done = verify(repository, patch)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["verdict"]) == (0, "VERIFIED")
    assert (answer["before"]["failures"], answer["after"]["failures"]) == (4, 0)
    assert {"before", "after", "p_value", "verdict", "runs_needed", "attempts"} <= answer.keys()
    assert "notes.txt" in done.stderr
    assert repository.look() == before
    assert json.loads((tmp_path / "out" / "receipt.json").read_text()) == answer
    checked = triage(tmp_path, "--check", tmp_path / "out" / "receipt.json", "--json")
    assert json.loads(checked.stdout) == {"ok": True, "verdict": "VERIFIED", "attempts": 8, "logs": 8}


@pytest.mark.parametrize(
    ("base", "fixed", "runs", "answer"),
    [
        (ALWAYS, HALF, 4, (1, "NOT_VERIFIED")),
        (ALWAYS, "raise KeyError('new')\n", 3, (1, "NOT_VERIFIED")),
        (ALWAYS, NEVER, 2, (3, "INSUFFICIENT")),
        (NEVER, NEVER + "\n", 2, (3, "NEVER_FAILED")),
    ],
)
def test_the_exit_code_says_the_verdict(tmp_path, base, fixed, runs, answer):
    repository = Repository(tmp_path, setting=base)
    done = verify(repository, repository.make_patch("sub/setting.py", fixed), runs=runs)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == answer, done.stderr


def test_a_command_that_hangs_always_ends_at_the_time_limit_and_tells_nothing(repository):
    code = "import setting, time; print('up', flush=True); time.sleep(300)"
    patch = repository.make_patch("sub/setting.py", NEVER)
    out = repository.top.parent / "out"
    words = ["--patch", patch, "--runs", 1, "--timeout-s", 1, "--out", out, "--json"]
    done = triage(repository.place, *words, "--", sys.executable, "-c", code)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["verdict"]) == (3, "INSUFFICIENT")
    assert (answer["before"]["timeouts"], answer["after"]["timeouts"], answer["after"]["passes"]) == (1, 1, 0)


def test_for_people_the_answer_is_a_few_sentences_and_a_table(repository):
    patch = repository.make_patch("sub/setting.py", NEVER)
    out = repository.top.parent / "out"
    done = triage(repository.place, "--patch", patch, "--runs", 4, "--out", out, "--", *COMMAND)
    first, second, *_ = done.stdout.splitlines()
    assert first == "VERIFIED"
    assert "Before the change 4 of 4 runs showed the failure" in second
    assert done.stdout.splitlines()[-1] == str(out / "receipt.json")


def test_other_variables_are_a_change_and_need_no_repository(tmp_path):
    code = "import os; assert 'FIXED' in os.environ, 'broken'"
    words = ["--env", "FIXED=1", "--runs", 4, "--out", tmp_path / "out", "--json", "--", sys.executable, "-c", code]
    done = triage(tmp_path, *words)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "VERIFIED"), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--runs", "0", "--env", "A=1", "--", "true"], "--runs is 0"),
        (["--runs", "1000000", "--env", "A=1", "--", "true"], "--runs is 1000000"),
        (["--env", "A=1", "--timeout-s", "0", "--", "true"], "--timeout-s is 0"),
        (["--env", "A", "--", "true"], "--env A is no NAME=VALUE"),
        (["--runs", "2", "--", "true"], "Before and after are the same"),
        (["--patch", "no.diff", "--", "true"], "no.diff cannot be read"),
        (["--env", "A=1"], "There is no command to run"),
        (["--env", "A=1", "--", "no-such-command"], "no command 'no-such-command'"),
        (["--package", "no_such_package", "--patch", "x", "--", "true"], "No package no_such_package"),
        (["--check", "no.json"], "no.json cannot be read"),
        (["--resume", "nowhere"], "holds no verification"),
        (["gemma3-legacy-key"], "Did you mean gemma3-legacy-keys?"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, words, said, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    place = words.index("--") if "--" in words else len(words)
    code = run_app(["verify", *words[:place], "--out", str(tmp_path / "out"), *words[place:]])
    printed = capsys.readouterr()
    assert code in {2, 3}
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_without_slurm_the_option_for_it_is_one_sentence(tmp_path):
    (tmp_path / "git").symlink_to("/usr/bin/git")
    words = ["--on", "slurm", "--env", "A=1", "--out", tmp_path / "out", "--", "/bin/true"]
    done = triage(tmp_path, *words, env={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert "There is no Slurm here" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_power_of_a_design_is_told_without_running_anything(tmp_path):
    done = triage(tmp_path, "--power", "--runs", 20, "--json")
    rows = json.loads(done.stdout)["rows"]
    assert rows[-1]["VERIFIED if the change ends it"] == "98%"
