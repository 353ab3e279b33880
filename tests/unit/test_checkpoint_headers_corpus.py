"""Damaged headers that a fuzzer found: triage and safetensors say the same of each, or we know why not."""

import importlib.util
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def load_fuzzer():
    spec = importlib.util.spec_from_file_location("fuzz_headers", TESTS / "fuzz_headers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzzer = load_fuzzer()
CASES = sorted(fuzzer.CORPUS.glob("*.safetensors"))


def test_the_corpus_is_there_and_small():
    assert len(CASES) > 100
    assert sum(path.stat().st_size for path in CASES) < 300_000


def test_the_corpus_holds_what_is_taken_and_what_is_refused():
    verdicts = [fuzzer.describe(path) for path in CASES]
    assert {(taken, read) for (taken, _), (read, _) in verdicts} == {(True, True), (False, False), (True, False)}


def test_triage_and_safetensors_agree_on_every_case():
    problems = {path.name: problem for path in CASES if (problem := fuzzer.find_disagreement(path))}
    assert problems == {}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b'{"a":%b,"a":%b}', "a duplicate key, of which safetensors keeps the last in silence"),
        (b' {"a":%b}%.0b', "space before the brace with which the format begins"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}%.0b%.0b', None),
    ],
)
def test_where_triage_is_stricter_it_is_on_purpose(tmp_path, header, reason):
    entry = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    raw = header % (entry, entry)
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(8))
    assert fuzzer.ask_safetensors(path)[0]
    assert fuzzer.explain_stricter(path) == reason
    assert fuzzer.ask_triage(path)[0] is (reason is None)


def test_a_case_on_which_the_two_disagree_is_found(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(8))
    assert fuzzer.find_disagreement(path) is None
    monkeypatch.setattr(fuzzer, "ask_triage", lambda _: (True, "reads"))
    assert fuzzer.find_disagreement(path).startswith("triage reads what safetensors refuses")
