"""The labelled corpus: what the rules get right, and that they see no failure where there is none."""

from collections import Counter

import pytest

from tests.logs.corpus import make_failure, make_failures, make_passing, read_entries
from triage.logs import LogReport, read_log
from triage.result import Family

SEEN, HELD_OUT, LATE = (list(make_failures(part)) for part in ("seen", "held_out", "late"))


def read(tmp_path, data: bytes) -> LogReport:
    path = tmp_path / "job.log"
    path.write_bytes(data)
    return read_log(str(path))


def is_right(log, report) -> bool:
    return [(f.family.value, f.infra) for f in report.failures] == [(log.family, log.infra)]


def test_the_corpus_is_what_it_promises():
    assert len(SEEN) + len(HELD_OUT) >= 120
    assert len(HELD_OUT) * 3 >= len(SEEN) + len(HELD_OUT)
    assert len(list(make_passing())) >= 30
    families = {family.value for family in Family}
    assert {log.family for log in SEEN} == families == {log.family for log in HELD_OUT}
    entries = [entry for part in ("seen", "held_out", "late") for entry in read_entries(part)]
    assert all("#" in entry["source"] for entry in entries)
    assert max(Counter(entry["id"] for entry in entries).values()) == 1


def test_of_the_seen_failures_95_in_100_are_named(tmp_path):
    wrong = [log.id for log in SEEN if not is_right(log, read(tmp_path, log.data))]
    assert len(wrong) <= 0.05 * len(SEEN), wrong


def test_of_the_failures_kept_out_of_rule_writing_85_in_100_are_named(tmp_path):
    wrong = sum(not is_right(log, read(tmp_path, log.data)) for log in HELD_OUT)
    assert wrong <= 0.15 * len(HELD_OUT)


def test_of_the_failures_looked_up_after_the_rules_were_written_85_in_100_are_named(tmp_path):
    wrong = sum(not is_right(log, read(tmp_path, log.data)) for log in LATE)
    assert wrong <= 0.15 * len(LATE)


@pytest.mark.parametrize("log", list(make_passing()), ids=lambda log: log.id)
def test_a_log_of_a_job_that_passed_has_no_failure(tmp_path, log):
    assert read(tmp_path, log.data).failures == ()


def test_a_failure_names_its_test_and_its_job(tmp_path):
    for log in SEEN:
        (failure,) = read(tmp_path, log.data).failures
        assert (failure.test, failure.job) == (log.test, log.job), log.id


def test_the_root_line_is_where_the_failure_says(tmp_path):
    for log in SEEN:
        (failure,) = read(tmp_path, log.data).failures
        line = log.data.split(b"\n")[failure.root.n - 1].decode()
        words = failure.root.text.rstrip("…").split()[:4]
        assert all(word in line for word in words), (log.id, failure.root, line)


def test_another_run_of_a_failure_has_the_same_signature(tmp_path):
    for entry in read_entries("seen"):
        signatures = {read(tmp_path, make_failure(entry, salt=s).data).failures[0].signature for s in ("a", "b", "c")}
        assert len(signatures) == 1, entry["id"]
        assert signatures.pop().startswith("v1:")
