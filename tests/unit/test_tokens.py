"""Token counts without a server: where snapshots part, and what the verdict rests on."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from triage import Verdict, tokens
from triage.errors import InputError, SnapshotError

WORDS = ["<s>", "</s>", "<unk>", "▁", "▁a", "▁b", "a", "b", "é", "▁é", "🙂", "▁🙂"]
REQUESTS = tokens.list_truncations(10)


def make_snapshot(name: str, *, keep_spaces: bool = True, lowercase: bool = False, special: bool = True):
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in WORDS], unk_id=2))
    steps = [] if keep_spaces else [pre_tokenizers.WhitespaceSplit()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.Metaspace()])
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return tokens.Snapshot(name, Path(), tokenizer)


def classify(*, drift=0, alone=None, comparisons=None):
    """A verdict on counts that drift by `drift` when served and by `alone` between the tokenizers."""
    alone = drift if alone is None else alone
    if comparisons is None:
        a, b = make_snapshot("A"), make_snapshot("B", keep_spaces=False)
        comparisons = tokens.compare_named(a, b, {"query": "a b", "document": "a b "})
    return tokens.classify_token_counts(
        case="c",
        served={"A": {t.name: 20 + drift for t in REQUESTS}, "B": {t.name: 20 for t in REQUESTS}},
        predicted={"A": {t.name: 20 + alone for t in REQUESTS}, "B": {t.name: 20 for t in REQUESTS}},
        comparisons=comparisons,
    )


def test_identical_snapshots_part_nowhere():
    a, b = make_snapshot("A"), make_snapshot("B")
    for comparison in tokens.compare_snapshots(a, b, ["a b ", "", " ", "éé 🙂", "a\x00b", "ab" * 300]):
        assert comparison.first_divergence is None
        assert comparison.a_count == comparison.b_count


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [("a b ", 3, 4), ("  a", 0, 1), ("é🙂 ", 2, 3), ("a  b", 1, 2), ("a " * 50, 99, 100)],
)
def test_the_span_of_a_divergence_indexes_the_original_text(text, start, end):
    (comparison,) = tokens.compare_snapshots(make_snapshot("A"), make_snapshot("B", keep_spaces=False), [text])
    place = comparison.first_divergence
    assert (place.char_start, place.char_end, place.text) == (start, end, text[start:end])
    assert place.a_tokens == ("▁",)
    assert place.b_tokens == ()


def test_a_divergence_ends_where_both_snapshots_stand_for_the_same_characters_again():
    (comparison,) = tokens.compare_snapshots(make_snapshot("A"), make_snapshot("B", lowercase=True), ["a B a b a"])
    place = comparison.first_divergence
    assert place.text.strip() == "B"
    assert place.b_tokens == ("▁b",)


def test_a_missing_special_token_is_a_divergence_at_no_character():
    (comparison,) = tokens.compare_snapshots(make_snapshot("A"), make_snapshot("B", special=False), ["a b"])
    assert comparison.first_divergence.index == 0
    assert comparison.first_divergence.text == ""
    assert comparison.first_divergence.a_tokens == ("<s>",)


def test_a_prediction_cuts_only_the_text_that_the_request_cuts():
    snapshot = make_snapshot("A")
    counts = tokens.predict_rerank(snapshot, query="a " * 12, document="b " * 30, truncations=REQUESTS)
    whole = 13 + 31  # each trailing space is a piece of its own
    assert list(counts.values()) == [whole + 4, 10 + 31 + 4, 13 + 10 + 4, 20 + 4]


def test_a_served_drift_that_the_tokenizers_predict_is_reproduced_and_names_text_and_character():
    result = classify(drift=1)
    assert result.verdict is Verdict.REPRODUCED
    assert "document's trailing space (character 3)" in result.cause
    assert "query's" not in result.cause


def test_a_drift_that_the_tokenizers_do_not_predict_is_not_blamed_on_a_snapshot():
    result = classify(drift=2, alone=1)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "accounting" in result.cause


def test_the_next_command_runs_as_it_is_printed():
    again = "triage run c -p snapshot_a=A -p snapshot_b=B"
    assert classify(drift=0).next_command == again
    counts = {name: {t.name: 20 for t in REQUESTS} for name in "AB"}
    counts["A"] = dict.fromkeys(counts["A"], 21)
    a, b = make_snapshot("A"), make_snapshot("B", keep_spaces=False)
    texts = {"query": "a b", "document": "a b "}
    result = tokens.classify_token_counts(
        case="c",
        served=counts,
        predicted=counts,
        comparisons=tokens.compare_named(a, b, texts),
        attribution=tokens.attribute_difference(a, b, list(texts.values())),
    )
    assert result.verdict is Verdict.REPRODUCED
    assert result.next_command == "triage tokens A B --text ' ' --all"
    alone = tokens.classify_token_counts(case="c", served={}, predicted={}, comparisons={})
    assert alone.next_command == "triage run c"


def test_equal_counts_are_not_reproduced():
    assert classify(drift=0).verdict is Verdict.NOT_REPRODUCED


def test_equal_counts_of_different_tokens_say_so():
    a, b = make_snapshot("A"), make_snapshot("B", lowercase=True)
    comparisons = tokens.compare_named(a, b, {"query": "a b", "document": "a X"})
    result = classify(drift=0, comparisons=comparisons)
    assert result.verdict is Verdict.NOT_REPRODUCED
    assert result.cause.endswith("Their tokens differ all the same, in the document.")


def test_a_drift_that_the_server_evens_out_is_told():
    result = classify(drift=0, alone=1)
    assert result.verdict is Verdict.NOT_REPRODUCED
    assert "the server's accounting evens that out" in result.cause


@pytest.mark.parametrize(("query", "repeat"), [("a", 0), ("a", -1), ("", 3)])
def test_texts_that_would_be_empty_are_refused(query, repeat):
    with pytest.raises(InputError, match="would be empty"):
        tokens.make_texts(query=query, document="b", repeat=repeat)


def test_a_text_whose_count_does_not_move_carries_no_drift():
    a, b = make_snapshot("A"), make_snapshot("B", keep_spaces=False)
    comparisons = tokens.compare_named(a, b, {"query": "a b", "document": "a b"})
    assert classify(drift=1, comparisons=comparisons).verdict is Verdict.INCONCLUSIVE


def test_without_compared_texts_a_drift_is_inconclusive():
    assert classify(drift=1, comparisons={}).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("missing", ["served", "one request", "predicted"])
def test_taking_counts_away_leads_to_inconclusive(missing):
    served = {name: {t.name: count for t in REQUESTS} for name, count in (("A", 21), ("B", 20))}
    predicted = {name: dict(counts) for name, counts in served.items()}
    if missing == "served":
        del served["B"]
    elif missing == "one request":
        del served["B"][REQUESTS[0].name]
    else:
        predicted = {}
    result = tokens.classify_token_counts(case="c", served=served, predicted=predicted, comparisons={})
    assert result.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.20.0", (286,)),
        ("0.21.0", (286,)),
        ("0.30.0", (284, 285)),
        ("0.22.1+rocm722", (285, 286)),
        ("0.29.0", (285, 286)),
        ("0.32.0", (284, 285)),
    ],
)
def test_the_expectation_is_that_of_the_installed_version(version, expected):
    from triage import read_case

    history = read_case("e5-token-count").upstream_facts["expected_prompt_tokens"]
    assert tokens.find_expectation(history, version)[0] == expected


@pytest.mark.parametrize("version", [None, "", "0.19.1", "a branch"])
def test_a_version_without_the_test_has_no_expectation(version):
    assert tokens.find_expectation([{"since": "0.20.0", "values": [[286]]}], version) is None


@pytest.mark.parametrize("content", ["", "[]", '{"version": "1.0"}', '{"model": {"type": "Nope"}}', "\x00"])
def test_a_broken_tokenizer_file_is_one_sentence_with_its_path(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(SnapshotError, match=r"tokenizer\.json is no tokenizer") as caught:
        tokens.read_snapshot(tmp_path)
    assert caught.value.hint


def test_a_folder_without_a_tokenizer_says_so(tmp_path):
    with pytest.raises(SnapshotError, match=r"has no tokenizer\.json"):
        tokens.read_snapshot(tmp_path)


def test_a_limit_that_leaves_no_token_is_refused():
    with pytest.raises(InputError, match="leaves no token"):
        tokens.list_truncations(0)


def test_the_tiny_snapshots_differ_in_the_pre_tokenizer_alone():
    a, b = tokens.read_snapshots("tiny:e5-metaspace", "tiny:e5-whitespace")
    ours, theirs = (json.loads((s.folder / "tokenizer.json").read_text()) for s in (a, b))
    assert [key for key in ours if ours[key] != theirs[key]] == ["pre_tokenizer"]


def test_equal_ids_of_different_tokens_are_a_difference_among_many_texts_too():
    def name(first, second):
        tokenizer = Tokenizer(models.WordLevel({first: 0, second: 1, "?": 2}, unk_token="?"))
        return tokens.Snapshot(first, Path(), tokenizer)

    one, other = name("a", "b"), name("b", "a")
    other.tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace("a", "c"), normalizers.Replace("b", "a"), normalizers.Replace("c", "b")]
    )
    first, second = tokens.compare_snapshots(one, other, ["a", "b"])
    assert (first.first_divergence.a_tokens, first.first_divergence.b_tokens) == (("a",), ("b",))
    assert second.first_divergence is not None
