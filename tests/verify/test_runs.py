"""Single runs, and whole verifications through the library: outcomes, order, stops, and what is left."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.verify.repository import COMMAND, HALF, NEVER, Repository
from triage.errors import InputError
from triage.verify import Change, Design, End, FixVerdict, Limits, Plan, Rule, resume_verification, verify_fix
from triage.verify._arms import Arm
from triage.verify._attempt import ArmName
from triage.verify._run import Slot, run_attempt

SLOT = Slot(arm="before", pair=0, number=0)
QUICK = Limits(timeout_s=120, stall_s=120)


def run(tmp_path, *command, limits=QUICK, files=None):
    place = tmp_path / "place"
    place.mkdir(exist_ok=True)
    for name, text in (files or {}).items():
        (place / name).write_text(text)
    arm = Arm(name=ArmName.BEFORE, command=command, folder=place)
    return run_attempt(arm, SLOT, out=tmp_path / "out", limits=limits)[0]


def python(code):
    return sys.executable, "-c", code


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (python("print('fine')"), End.PASSED),
        (python("raise ValueError('boom')"), End.FAILED),
        (python("import os; os.abort()"), End.FAILED),
        (python("raise SystemExit(125)"), End.SKIPPED),
        (python("raise SystemExit(5)"), End.FAILED),
    ],
)
def test_a_run_ends_as_its_exit_code_says(tmp_path, command, end):
    assert run(tmp_path, *command).end is end


@pytest.mark.parametrize(
    ("test", "words", "end"),
    [
        ("def test(): assert 284 == 285", (), End.FAILED),
        ("def test(): pass", (), End.PASSED),
        ("import pytest\n@pytest.mark.skip\ndef test(): pass", (), End.SKIPPED),
        ("import pytest\n@pytest.mark.skip\ndef test(): pass\ndef test_b(): pass", (), End.PASSED),
        ("def test(): pass", ("-k", "nothing"), End.SKIPPED),
        ("", (), End.SKIPPED),
    ],
)
def test_a_run_of_pytest_that_ran_no_test_is_no_pass(tmp_path, test, words, end, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a second less
    files = {"test_it.py": test, "pytest.ini": "[pytest]\n"}
    assert run(tmp_path, sys.executable, "-m", "pytest", "-q", "test_it.py", *words, files=files).end is end


AGAIN = """
import pathlib, pytest
@pytest.mark.flaky(reruns=2)
def test_it():
    count = pathlib.Path("count")
    first = not count.exists()
    count.touch()
    assert not first
"""


@pytest.mark.parametrize("words", [(), ("--reruns", "3")])
def test_a_test_that_would_pass_when_run_again_has_failed(tmp_path, words):
    files = {"test_it.py": AGAIN, "pytest.ini": "[pytest]\naddopts = --strict-markers\n"}
    attempt = run(tmp_path, sys.executable, "-m", "pytest", "-q", "test_it.py", *words, files=files)
    assert (attempt.end, attempt.returncode) == (End.FAILED, 1)


def test_the_same_failure_has_the_same_signature_in_every_run(tmp_path):
    words = "{str(i) * 9 for i in range(9)}"  # a set, in another order each time
    code = f"import random; raise ValueError('at', hex(id(random)), random.random(), {words})"
    signatures = {run(tmp_path, *python(code)).signatures for _ in range(2)}
    assert len(signatures) == 1
    assert run(tmp_path, *python("raise KeyError('boom')")).signatures not in signatures


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '987.5']); time.sleep(999)"
    attempt = run(tmp_path, *python(code), limits=Limits(timeout_s=1, stall_s=60))
    assert (attempt.end, attempt.returncode) == (End.TIMED_OUT, None)
    assert not [p for p in psutil.process_iter(["cmdline"]) if "987.5" in (p.info["cmdline"] or [])]


# Whole verifications


def verify(repository, patch, out, **options):
    plan = Plan(command=options.pop("command", COMMAND), change=Change(patch=patch), folder=repository.place, **options)
    return verify_fix(plan, out, design=Design(rule=Rule.FIXED, runs=4), limits=QUICK)


def test_runs_alternate_between_the_arms_in_an_order_that_is_drawn(repository, tmp_path):
    receipt = verify(repository, repository.make_patch("sub/setting.py", NEVER), tmp_path / "out")
    arms = [attempt["arm"] for attempt in receipt["attempts"]]
    pairs = [arms[n : n + 2] for n in range(0, 8, 2)]
    assert [sorted(pair) for pair in pairs] == [["after", "before"]] * 4
    assert len({tuple(pair) for pair in pairs}) == 2
    assert receipt["verdict"] == FixVerdict.VERIFIED


def test_the_copies_are_gone_afterwards_and_the_logs_are_not(repository, tmp_path):
    receipt = verify(repository, repository.make_patch("sub/setting.py", NEVER), tmp_path / "out")
    assert not (tmp_path / "out" / "work").exists()
    assert all((tmp_path / "out" / "attempts" / attempt["log"]).is_file() for attempt in receipt["attempts"])


def test_a_change_that_the_run_never_opens_is_an_error_that_leaves_nothing(repository, tmp_path):
    patch = repository.make_patch("README", "two\n")
    with pytest.raises(InputError, match="touches nothing that the run reads: it opened no file of README"):
        verify(repository, patch, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_patch_that_takes_a_file_away_touches_what_the_base_reads(tmp_path):
    repository = Repository(tmp_path)
    repository.write("sub/other.py", "import setting\nsetting.FAILS = lambda number: False\n")
    code = "import setting\ntry:\n    import breaks\nexcept ImportError:\n    pass\n"
    repository.write("sub/check.py", code)
    repository.write("sub/breaks.py", "raise ValueError('boom')\n")
    repository.commit()
    (repository.place / "breaks.py").unlink()
    patch = tmp_path / "fix.diff"
    patch.write_text(repository.git("diff"))
    repository.git("checkout", "-q", ".")
    assert verify(repository, patch, tmp_path / "out")["verdict"] == FixVerdict.VERIFIED


def test_the_fix_is_taken_out_again_to_see_the_failure_come_back(repository, tmp_path):
    receipt = verify(repository, repository.make_patch("sub/setting.py", NEVER), tmp_path / "out", revert=True)
    assert (receipt["reverted"]["runs"], receipt["reverted"]["failures"]) == (1, 1)


def test_a_measured_rate_says_how_many_runs_there_are(tmp_path):
    repository = Repository(tmp_path, setting=HALF)
    plan = Plan(
        command=COMMAND,
        change=Change(patch=repository.make_patch("sub/setting.py", NEVER)),
        folder=repository.place,
    )
    receipt = verify_fix(plan, tmp_path / "out", design=Design(runs=6, most=30), limits=QUICK)
    assert receipt["before"]["runs"] == receipt["after"]["runs"] == receipt["statistics"]["planned_runs"] > 6
    assert receipt["verdict"] == FixVerdict.VERIFIED


def test_a_driver_that_was_killed_can_be_followed_by_another(repository, tmp_path):
    patch = repository.make_patch("sub/setting.py", NEVER)
    out = tmp_path / "out"
    words = ["verify", "--patch", str(patch), "--runs", "6", "--out", str(out), "--", *COMMAND]
    driver = subprocess.Popen([sys.executable, "-m", "triage.cli", *words], cwd=repository.place)
    results = out / "results"
    until = time.monotonic() + 60
    while len(list(results.glob("*.json"))) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    kept = {path: path.stat().st_mtime_ns for path in results.glob("*.json")}
    receipt = resume_verification(out)
    assert receipt["before"]["runs"] == receipt["after"]["runs"] == 6
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert receipt["verdict"] == FixVerdict.VERIFIED


def test_a_driver_that_is_told_to_stop_ends_its_run_and_says_how_to_go_on(repository, tmp_path):
    patch = repository.make_patch("sub/setting.py", NEVER)
    repository.write("sub/check.py", "import setting, time\nprint('up', flush=True)\ntime.sleep(321.5)\n")
    repository.commit()
    out = tmp_path / "out"
    words = ["verify", "--patch", str(patch), "--runs", "6", "--out", str(out), "--", *COMMAND]
    driver = subprocess.Popen(
        [sys.executable, "-m", "triage.cli", *words], cwd=repository.place, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not any(log.stat().st_size for log in out.glob("attempts/*/output.log")) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGTERM)
    said = driver.communicate(timeout=60)[1]
    assert driver.returncode == 4
    assert f"triage verify --resume {out}" in said
    assert not [p for p in psutil.process_iter(["cmdline", "cwd"]) if str(out) in str(p.info["cwd"])]


def test_a_folder_with_a_verification_is_not_written_over(repository, tmp_path):
    patch = repository.make_patch("sub/setting.py", NEVER)
    verify(repository, patch, tmp_path / "out")
    receipt = (tmp_path / "out" / "receipt.json").read_bytes()
    with pytest.raises(InputError, match="holds a verification already"):
        verify(repository, patch, tmp_path / "out")
    assert (tmp_path / "out" / "receipt.json").read_bytes() == receipt


def test_what_cannot_be_resumed_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="holds no verification that can be resumed"):
        resume_verification(tmp_path)


def test_a_verification_runs_beside_another_thread(repository, tmp_path):
    patch = repository.make_patch("sub/setting.py", NEVER)
    found: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: found.append(verify(repository, patch, Path(tmp_path, "out"))))
    thread.start()
    thread.join()
    assert found[0]["verdict"] == FixVerdict.VERIFIED
