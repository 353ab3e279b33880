"""`triage counts` and `triage snapshots`, as a shell sees them."""

import json
import os
import subprocess
import sys

import pytest

LOG, DRIFTED = "286/156/155/25", "284/154/154/24"
OTHER = json.dumps({"whole": {"title": None}, "cut": {"title": 3}})


def triage(*arguments, **env) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "triage.cli", *arguments]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=60, check=False)


def test_the_counts_of_a_log_say_which_text_drifts():
    answer = json.loads(triage("counts", LOG, DRIFTED, "--json").stdout)
    assert answer["segments"] == [
        {"name": "query", "role": "cannot carry", "drift": 0, "before": 140, "after": 140},
        {"name": "document", "role": "carries", "drift": 1, "before": 141, "after": 140},
        {"name": "special tokens", "role": "carries", "drift": 1, "before": 5, "after": 4},
    ]
    assert "It cannot be in the query." in answer["explanation"]
    table = triage("counts", LOG, DRIFTED.replace("/", ", "))
    assert table.returncode == 0
    assert answer["explanation"] in table.stdout


def test_the_one_count_that_a_failed_assertion_shows_is_not_enough():
    ended = triage("counts", "286/?/?/?", "285/?/?/?")
    assert ended.returncode == 3
    assert "do not decide between query, document, special tokens" in ended.stdout


def test_other_requests_with_other_texts_can_be_described():
    answer = json.loads(triage("counts", "9/5", "8/5", "--requests", OTHER, "--json").stdout)
    assert [(row["name"], row["drift"]) for row in answer["segments"]] == [("title", 1), ("special tokens", 0)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((LOG, "1/2"), "'1/2' is not the counts of 4 requests"),
        ((LOG, "1/2/3/x"), "'1/2/3/x' is not the counts of 4 requests"),
        ((LOG, "1/2/3/-4"), "is not the counts of 4 requests"),
        ((LOG, "1/2/3/" + "9" * 5000), "is not the counts of 4 requests"),
        ((LOG, ""), "'' is not the counts of 4 requests"),
        (("?/1/1/1", "1/?/?/?"), "No request has a count on both sides."),
        ((LOG, "285/156/155/25"), "No lengths of the texts give the counts 285, 156, 155, 25."),
        ((LOG, DRIFTED, "--limit", "0"), "A truncation limit of 0 leaves no token."),
        ((LOG, DRIFTED, "--requests", "{"), "--requests is not JSON"),
        ((LOG, DRIFTED, "--requests", "[" * 100_000), "--requests is not"),
        ((LOG, DRIFTED, "--requests", '{"a": {"b": "c"}}'), "--requests is not an object of requests."),
        ((LOG, DRIFTED, "--requests", '{"a": {"b": true}}'), "--requests is not an object of requests."),
        (("1", "1", "--requests", '{"a": {"b": -1}}'), "--requests is not an object of requests."),
    ],
)
def test_a_bad_input_is_one_sentence_and_exit_2(arguments, sentence):
    ended = triage("counts", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert len(ended.stderr) < 6000


def test_the_cache_is_listed_with_what_can_be_named(tmp_path):
    for revision, files in (("a" * 40, ["tokenizer.json"]), ("b" * 40, ["model.safetensors"])):
        folder = tmp_path / "models--owner--model" / "snapshots" / revision
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).write_text("{}")
    (tmp_path / "models--owner--model" / "refs").mkdir()
    (tmp_path / "models--owner--model" / "refs" / "main").write_text("b" * 40)
    listed = json.loads(triage("snapshots", "--json", HF_HUB_CACHE=str(tmp_path)).stdout)
    assert listed == {
        "snapshots": [
            {"repo": "owner/model", "revision": "a" * 40, "refs": [], "tokenizer": True},
            {"repo": "owner/model", "revision": "b" * 40, "refs": ["main"], "tokenizer": False},
        ]
    }
    table = triage("snapshots", HF_HUB_CACHE=str(tmp_path))
    assert (table.returncode, table.stderr) == (0, "")
    assert "a" * 40 in table.stdout


@pytest.mark.parametrize("kind", ["nothing", "an empty folder", "a file"])
def test_a_cache_without_models_says_so(tmp_path, kind):
    cache = tmp_path / "hub"
    if kind == "an empty folder":
        cache.mkdir()
    elif kind == "a file":
        cache.write_text("")
    ended = triage("snapshots", HF_HUB_CACHE=str(cache))
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr.strip() == "The local Hub cache holds no model."
    assert json.loads(triage("snapshots", "--json", HF_HUB_CACHE=str(cache)).stdout) == {"snapshots": []}
