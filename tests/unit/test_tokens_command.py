"""`triage tokens`, as a shell sees it."""

import json
import os
import subprocess
import sys

import pytest

A, B = "tiny:e5-metaspace", "tiny:e5-whitespace"


def triage(*arguments, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "triage.cli", "tokens", *map(str, arguments)]
    options = {"text": True, "encoding": "utf-8"} | options
    return subprocess.run(command, capture_output=True, timeout=120, check=False, **options)


def ask(*arguments):
    ended = triage(*arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def change(reference, *, folder, **sections):
    """A snapshot with other sections."""
    from triage.engine.models import find_model

    definition = json.loads((find_model(reference) / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(definition | sections))
    return folder


def test_a_difference_is_no_error_and_says_character_tokens_and_stage():
    answer = ask(A, B, "--text", "The capital. ", "--text", "Paris")
    assert answer["texts"][0] == {
        "a_count": 6,
        "b_count": 5,
        "first_divergence": {
            "index": 4,
            "char_start": 12,
            "char_end": 13,
            "text": " ",
            "a_tokens": ["▁"],
            "b_tokens": [],
            "before": ["▁The", "▁capital", "."],
            "after": ["</s>"],
        },
    }
    assert answer["texts"][1]["first_divergence"] is None
    assert answer["stages"] == ["pre_tokenizer"]
    assert "Taking pre_tokenizer from tiny:e5-metaspace" in answer["explanation"]


def test_more_snapshots_are_each_compared_with_the_first(tmp_path):
    lowered = change(A, normalizer={"type": "Lowercase"}, folder=tmp_path)
    answer = ask(A, B, lowered, "--text", "The capital. ")
    assert answer["stages"] == ["pre_tokenizer"]
    (other,) = answer["others"]
    assert (other["snapshot"], other["stages"]) == (str(lowered), ["normalizer"])
    assert other["texts"][0]["first_divergence"]["text"] == "The"
    table = triage(A, B, lowered, "--text", "The capital. ").stdout
    assert table.count("\nstages ") == 2
    again = triage(A, B, A, "--text", "The")
    assert (again.returncode, again.stdout) == (2, "")
    assert "is named twice" in again.stderr


def test_a_snapshot_may_be_compared_with_itself():
    answer = ask(A, A, "--text", "The capital. ")
    assert answer["stages"] == []
    assert answer["texts"][0]["first_divergence"] is None


def test_a_file_is_one_text_and_is_taken_verbatim(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("\ufeffThe capital\r\n\0 ".encode())
    answer = ask(A, B, "--text-file", path, "--text", "x")
    place = answer["texts"][1]["first_divergence"]
    assert len(answer["texts"]) == 2
    assert place["char_end"] <= len("\ufeffThe capital\r\n\0 ")
    table = ask(A, B, "--text-file", path, "--all")["texts"][0]["divergences"]
    assert table[-1]["char_end"] == len("\ufeffThe capital\r\n\0 ")


def test_the_order_of_texts_is_options_first_then_files(tmp_path):
    (tmp_path / "f").write_text("a b c d")
    assert [t["a_count"] for t in ask(A, B, "--text-file", tmp_path / "f", "--text", "a")["texts"]] == [3, 9]


def test_all_places_are_listed_when_asked_for():
    answer = ask(A, B, "--text", "The  capital  of ", "--all")
    places = answer["texts"][0]["divergences"]
    assert [place["text"] for place in places] == [" ", " ", " "]
    assert set(places[0]) >= {"index_a", "index_b", "char_start", "char_end", "a_tokens", "b_tokens", "before", "after"}
    assert places[0]["char_start"] == answer["texts"][0]["first_divergence"]["char_start"]


def test_the_counts_include_the_truncation_that_the_file_asks_for(tmp_path):
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    answer = ask(A, change(A, truncation=cut, folder=tmp_path), "--text", "The capital of France is Paris")
    assert (answer["texts"][0]["a_count"], answer["texts"][0]["b_count"]) == (8, 4)
    assert answer["stages"] == ["truncation"]


def test_the_table_shows_each_text_and_the_sentence_below_it():
    ended = triage(A, B, "--text", "The capital. ", "--text", "\x1b[31mred[/] ")
    assert ended.returncode == 0
    for word in ("tokens A", "character 12", "no token", "stages", "pre_tokenizer", "\\x1b[31mred[/]"):
        assert word in ended.stdout
    assert "\x1b" not in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize("arguments", [("--text", "א\u0301 🙂 "), ("--text", ""), ("--text", "\u202e ")])
def test_a_terminal_that_knows_ascii_alone_gets_an_answer_too(arguments):
    for more in ((), ("--json",)):
        ended = triage(A, B, *arguments, *more, env=os.environ | {"PYTHONIOENCODING": "ascii"})
        assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((A, B), "There is no text to compare on."),
        ((A,), "Missing argument 'B'"),
        ((A, B, "--text-file", "nowhere"), "nowhere cannot be read (No such file or directory)."),
        ((A, B, "--text-file", "/"), "/ cannot be read (Is a directory)."),
        ((A, "tiny:e7", "--text", "x"), "No tiny checkpoint is called 'e7'"),
        ((A, "nowhere", "--text", "x"), "nowhere does not exist."),
        ((A, "owner/model@x", "--text", "x"), "owner/model@x is neither a path nor in the local Hub cache"),
    ],
)
def test_a_bad_input_is_one_sentence_and_exit_2(arguments, sentence):
    ended = triage(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_bytes_that_are_no_utf_8_are_named_with_their_place(tmp_path):
    path = tmp_path / "latin"
    path.write_bytes(b"caf\xe9")
    ended = triage(A, B, "--text-file", path)
    assert ended.returncode == 2
    assert "is not UTF-8: byte 3 is 0xe9" in ended.stderr
    shell = triage(A, B, "--text", b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert shell.returncode == 2
    assert "U+DCE9, as character 3" in shell.stderr


def test_what_does_not_fit_together_is_a_note_beside_the_answer(tmp_path):
    from triage.engine.models import find_model

    definition = json.loads((find_model(A) / "tokenizer.json").read_text())
    definition["added_tokens"][4]["id"] = 400
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    ended = triage(A, tmp_path, "--text", "The ", "--json")
    (note,) = json.loads(ended.stdout)["notes"]
    assert "added token '<mask>' has the id 400" in note
