"""Receipts: complete, checkable, without names of hosts and persons; and no edit goes unnoticed."""

import json
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verify.simulate import OTHER, make_attempts, make_runs
from triage.errors import InputError
from triage.verify import ArmName, Design, End, Rule, Setup, check_receipt, plot_receipt, render_markdown
from triage.verify._campaign import Campaign
from triage.verify._check import _find_edits, _find_wrong_figures
from triage.verify._receipt import CHECKSUMS, add_checksums, build_receipt, format_receipt
from triage.verify._run import Limits


def make_receipt(attempts=None, **fields):
    description = {"patch": None, "env": {}, "command": ["pytest", "-q"], "after_command": ["pytest", "-q"]}
    setup = Setup(arms={}, changed={}, description=description)
    campaign = Campaign(
        setup=setup,
        design=Design(rule=Rule.FIXED, runs=20),
        limits=Limits(),
        started="2026-11-24T10:00:00+00:00",
        **fields,
    )
    runs = attempts or [*make_runs((9, 20), (0, 18)), *make_attempts(ArmName.AFTER, [End.TIMED_OUT, OTHER])]
    return build_receipt(campaign, runs, ended="2026-11-24T11:00:00+00:00")


RECEIPT = make_receipt()
TEXT = format_receipt(RECEIPT)
LINES = TEXT.splitlines()
LAST = next(number for number, line in enumerate(LINES) if line.startswith(f' "{CHECKSUMS}"'))


def check(tmp_path: Path, text: str):
    path = tmp_path / "receipt.json"
    path.write_text(text)
    return check_receipt(path)


def test_a_receipt_as_it_was_written_holds(tmp_path):
    assert check(tmp_path, TEXT).attempts == 40


def test_a_receipt_that_was_laid_out_anew_still_holds(tmp_path):
    content = json.loads(TEXT)
    for text in (
        json.dumps(content),
        json.dumps(content, indent=4),
        json.dumps(content, ensure_ascii=True, indent=None),
    ):
        assert check(tmp_path, text).attempts == 40


def test_it_holds_one_attempt_a_line_with_the_fields_of_the_contract():
    receipt = json.loads(TEXT)
    fields = {"arm", "index", "outcome", "returncode", "signature", "seconds", "node"}
    assert all(fields <= attempt.keys() for attempt in receipt["attempts"])
    assert sum('"outcome"' in line for line in LINES) == len(receipt["attempts"])
    counted = {"runs", "failures", "other_failures", "passes", "timeouts", "skips", "lost", "rate", "ci95"}
    assert counted == receipt["before"].keys() == receipt["after"].keys()
    after = receipt["after"]
    assert (after["runs"], after["passes"], after["timeouts"], after["other_failures"]) == (20, 18, 1, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"verdict": "NOT_VERIFIED"', '"verdict": "VERIFIED"'),
        ('"failures": 9', '"failures": 19'),
        ('"outcome": "timeout"', '"outcome": "pass"'),
        ('"end": "timed_out"', '"end": "passed"'),
        ('"confidence": 0.95', '"confidence": 0.5'),
        ('"seed": 0', '"seed": 7'),
        ('"started": "2026-11-24T10:00:00+00:00"', '"started": "2026-11-25T10:00:00+00:00"'),
    ],
)
def test_an_edit_is_named_by_its_line(tmp_path, old, new):
    number = next(n for n, line in enumerate(LINES, 1) if old in line)
    with pytest.raises(InputError, match=rf"line {number}\b"):
        check(tmp_path, TEXT.replace(old, new, 1))


def test_a_forger_who_mends_the_checksums_is_betrayed_by_the_figures(tmp_path):
    receipt = json.loads(TEXT)
    receipt["after"]["timeouts"], receipt["after"]["passes"] = 0, 19
    number = next(n for n, line in enumerate(LINES, 1) if n > LINES.index(' "after": {') and '"passes"' in line)
    with pytest.raises(InputError, match=rf"line {number}: after\.passes is 19, and the attempts give 18"):
        check(tmp_path, format_receipt(add_checksums(receipt)))


def test_an_attempt_that_was_taken_out_is_missed(tmp_path):
    receipt = json.loads(TEXT)
    del receipt["attempts"][-1]
    with pytest.raises(InputError, match=r"1 lines are missing"):
        check(tmp_path, format_receipt(receipt))


@settings(deadline=None)
@given(st.integers(0, LAST - 1), st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=3))
def test_whatever_is_put_into_whichever_line_does_not_pass(number, text):
    place = len(LINES[number]) // 2
    edited = LINES[number][:place] + text + LINES[number][place:]
    changed = "\n".join([*LINES[:number], edited, *LINES[number + 1 :]]) + "\n"
    try:
        receipt = json.loads(changed)
    except ValueError:
        return  # named by json's own line
    if receipt == json.loads(TEXT):
        return
    try:
        problems = [*_find_edits(changed, receipt), *_find_wrong_figures(Path("r"), changed, receipt)]
    except (InputError, KeyError):
        return
    assert any(f"line {number + 1} " in problem for problem in problems), (edited, problems)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"no JSON at line 1"),
        ("{}", "is no receipt"),
        ("[]", "is no receipt"),
        (TEXT.replace('"schema_version": 1', '"schema_version": 2'), "schema 2"),
        (TEXT.replace('"end": "passed"', '"end": "perhaps"', 1), "is no attempt"),
        (TEXT.replace(' "before": {', ' "before": {{', 1), r"no JSON at line \d+"),
    ],
)
def test_what_is_no_receipt_is_one_sentence(tmp_path, text, words):
    with pytest.raises(InputError, match=words) as caught:
        check(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_log_that_was_changed_is_named(tmp_path):
    attempts = make_runs((9, 20), (0, 20))
    name = "00000-before/output.log"
    log = tmp_path / "attempts" / name
    log.parent.mkdir(parents=True)
    log.write_text("fine\n")
    import hashlib
    from dataclasses import replace

    attempts[0] = replace(attempts[0], log=name, log_sha256=hashlib.sha256(b"fine\n").hexdigest())
    text = format_receipt(make_receipt(attempts))
    assert check(tmp_path, text).logs == 1
    log.write_text("fine?\n")
    with pytest.raises(InputError, match="is not the log of attempt 0"):
        check(tmp_path, text)


def test_nothing_in_a_receipt_names_this_machine_or_its_user():
    receipt = make_receipt(place={"kind": "slurm", "nodes": ["mi300-012"], "exclude": []})
    text = format_receipt(receipt)
    assert "mi300-012" not in text
    assert str(Path.home()) not in text
    host = socket.gethostname()
    assert len(host) < 4 or host not in text


def test_the_markdown_says_the_verdict_the_counts_and_how_to_check_them():
    receipt = json.loads(TEXT)
    page = render_markdown(receipt)
    assert "`NOT_VERIFIED`" in page
    assert "| before | 20 | 9 | 0 | 11 | 0 | 0 | 0 | 45.0% (23.1% to 68.5%) |" in page
    assert "triage verify --check receipt.json" in page
    assert receipt[CHECKSUMS]["content"][:16] in page


def test_the_picture_shows_each_arm_and_every_run():
    receipt = json.loads(TEXT)
    rates, runs = plot_receipt(receipt).axes
    assert [label.get_text() for label in rates.get_yticklabels()] == ["before", "after"]
    assert sum(len(dots.get_offsets()) for dots in runs.collections) == 40
