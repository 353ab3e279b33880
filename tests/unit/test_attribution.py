"""Which stage parts two snapshots: held against an independent search over all sets of stages, on random pipelines."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from triage import tokens
from triage.tokens import Stage

PIECES = ["<s>", "</s>", "<unk>", "▁", "a", "b", "A", "B", "▁a", "▁b", "ab", "é", " ", "x"]
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SPECIAL = {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}


def template(*single):
    return {"type": "TemplateProcessing", "single": list(single), "pair": list(single), "special_tokens": SPECIAL}


TEXT = {"Sequence": {"id": "A", "type_id": 0}}
FIRST, LAST = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("<s>", "</s>"))
OPTIONS = {
    Stage.NORMALIZER: [
        None,
        {"type": "Lowercase"},
        {"type": "NFD"},
        {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "StripAccents"}]},
        {"type": "Replace", "pattern": {"String": "b"}, "content": "a "},
        {"type": "Prepend", "prepend": "x"},
        {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        {"type": "Strip", "strip_left": True, "strip_right": True},
    ],
    Stage.PRE_TOKENIZER: [
        METASPACE,
        {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]},
        {"type": "BertPreTokenizer"},
        BYTES,
        {"type": "Split", "pattern": {"String": "a"}, "behavior": "MergedWithNext", "invert": False},
        {"type": "Digits", "individual_digits": True},
    ],
    Stage.POST_PROCESSOR: [
        None,
        template(FIRST, TEXT, LAST),
        template(TEXT, LAST),
        {"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0]},
        {
            "type": "RobertaProcessing",
            "sep": ["</s>", 1],
            "cls": ["<s>", 0],
            "trim_offsets": True,
            "add_prefix_space": False,
        },
        BYTES,
    ],
    Stage.TRUNCATION: [
        None,
        {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
    ],
    Stage.ADDED_TOKENS: [[], [{"content": "x", "special": False}], [{"content": "x", "special": True}]],
}
ORDERS = [PIECES, [*PIECES[:3], *reversed(PIECES[3:])]]


def added_token(token, order):
    fixed = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": order.index(token["content"]), **token, **fixed}


def assemble(choice):
    order = ORDERS[choice["order"]]
    whole = {"version": "1.0", "padding": None, "decoder": None}
    whole |= {stage.value: OPTIONS[stage][choice[stage]] for stage in OPTIONS}
    whole["added_tokens"] = [added_token(token, order) for token in whole["added_tokens"]]
    vocabulary = {piece: number for number, piece in enumerate(order)}
    scores = [[piece, -float(len(order[:3]) if piece in order[:3] else 1)] for piece in order]
    merges = [["a", "b"], ["▁", "a"], ["▁", "b"]]
    parts = {"continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False}
    whole["model"] = {
        "Unigram": {"unk_id": 2, "vocab": scores, "byte_fallback": False},
        "BPE": {"dropout": None, "unk_token": "<unk>", "vocab": vocabulary, "merges": merges} | parts,
        "WordPiece": {
            "unk_token": "<unk>",
            "continuing_subword_prefix": "",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
        "WordLevel": {"vocab": vocabulary, "unk_token": "<unk>"},
    }[choice.get("model", "Unigram")]
    whole["model"] = {"type": choice.get("model", "Unigram")} | whole["model"]
    return whole


def snapshot(name, choice):
    return tokens.Snapshot(name, Path(), Tokenizer.from_str(json.dumps(assemble(choice))))


def encode(definition, text):
    encoding = Tokenizer.from_str(json.dumps(definition)).encode(text)
    return encoding.ids, encoding.tokens


def search_all_sets(a, b, texts):
    """Every set of stages that makes B equal A, by brute force on whole definitions."""
    ours, theirs = (json.loads(s.tokenizer.to_str()) for s in (a, b))
    wanted = [encode(ours, text) for text in texts]
    found = []
    for size in range(len(Stage) + 1):
        for stages in combinations(Stage, size):
            try:
                got = [encode(theirs | {s.value: ours[s.value] for s in stages}, text) for text in texts]
            except Exception:  # noqa: BLE001  tokenizers knows no narrower one for parts that do not fit
                continue
            if got == wanted:
                found.append(set(stages))
    return found


CHOICES = st.fixed_dictionaries(
    {stage: st.integers(0, len(options) - 1) for stage, options in OPTIONS.items()}
    | {"order": st.integers(0, 1), "model": st.sampled_from(["Unigram", "BPE", "WordPiece", "WordLevel"])}
)
TEXTS = st.lists(st.text("aAbBéx \u0301\t\u05d0🙂", max_size=12), min_size=1, max_size=4)


@settings(max_examples=120, deadline=None)
@given(CHOICES, CHOICES, TEXTS)
def test_the_reported_stages_make_b_equal_a_and_no_smaller_set_does(one, other, texts):
    a, b = snapshot("A", one), snapshot("B", other)
    attribution = tokens.attribute_difference(a, b, texts)
    sets = search_all_sets(a, b, texts)
    assert set(attribution.stages) in sets
    assert len(attribution.stages) == min(map(len, sets))
    assert attribution.encodings <= 16 * (1 + len(attribution.witnesses))


@settings(max_examples=150, deadline=None)
@given(CHOICES, CHOICES, TEXTS)
def test_spans_index_the_original_text_and_stand_at_a_real_difference(one, other, texts):
    a, b = snapshot("A", one), snapshot("B", other)
    for comparison in tokens.compare_snapshots(a, b, texts):
        place = comparison.first_divergence
        ours, theirs = (s.tokenizer.encode(comparison.text) for s in (a, b))
        same = (ours.ids, ours.tokens) == (theirs.ids, theirs.tokens)
        assert (place is None) is same
        if place is not None:
            assert 0 <= place.char_start <= place.char_end <= len(comparison.text)
            assert comparison.text[place.char_start : place.char_end] == place.text
            assert ours.tokens[: place.index] == theirs.tokens[: place.index]
            assert tuple(ours.tokens[place.index :][: len(place.a_tokens)]) == place.a_tokens
            assert tuple(theirs.tokens[place.index :][: len(place.b_tokens)]) == place.b_tokens
            assert place.a_tokens != place.b_tokens or ours.ids != theirs.ids


@given(CHOICES, TEXTS)
def test_identical_snapshots_report_nothing(choice, texts):
    attribution = tokens.attribute_difference(snapshot("A", choice), snapshot("B", choice), texts)
    assert attribution == tokens.Attribution(stages=(), witnesses=(), differing=(), encodings=0)


@pytest.mark.parametrize("stage", list(OPTIONS))
def test_a_single_changed_stage_is_named_in_words(stage):
    base = dict.fromkeys(OPTIONS, 0) | {"order": 0, Stage.POST_PROCESSOR: 1}
    changed = base | {stage: 2 if stage is Stage.POST_PROCESSOR else 1}
    a, b = snapshot("ours", base), snapshot("theirs", changed)
    attribution = tokens.attribute_difference(a, b, ["Ab a é xa b "])
    assert attribution.stages == (stage,)
    sentence = tokens.explain_attribution(a, b, attribution)
    assert f"Taking {stage} from ours into theirs" in sentence
    assert repr(min(attribution.witnesses, key=len)) in sentence


def test_a_changed_vocabulary_names_the_pieces_that_the_text_is_made_of():
    a = snapshot("ours", dict.fromkeys(OPTIONS, 0) | {"order": 0})
    b = snapshot("theirs", dict.fromkeys(OPTIONS, 0) | {"order": 1})
    attribution = tokens.attribute_difference(a, b, ["b b"])
    assert attribution.stages == (Stage.MODEL,)
    assert "model piece '▁b': {\"id\":9" in tokens.explain_attribution(a, b, attribution)


def test_a_difference_that_no_stage_explains_is_said_to_be_none_of_theirs():
    """How a tokenizer was asked to treat special tokens is no part of its definition."""
    base = dict.fromkeys(OPTIONS, 0) | {"order": 0, Stage.ADDED_TOKENS: 2}
    a, b = snapshot("ours", base), snapshot("theirs", base | {Stage.NORMALIZER: 1})
    a.tokenizer.encode_special_tokens = True
    attribution = tokens.attribute_difference(a, b, ["axb"])
    assert attribution.stages is None
    sentence = "No set of stages explains the difference, although these differ: normalizer."
    assert tokens.explain_attribution(a, b, attribution) == sentence


def test_a_long_definition_is_clipped_where_it_is_told():
    base = dict.fromkeys(OPTIONS, 0) | {"order": 0}
    definition = assemble(base)
    definition["normalizer"] = {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 10_000}
    a, b = snapshot("ours", base), tokens.Snapshot("theirs", Path(), Tokenizer.from_str(json.dumps(definition)))
    sentence = tokens.explain_attribution(a, b, tokens.attribute_difference(a, b, ["a"]))
    assert "characters) in theirs" in sentence
    assert len(sentence) < 1_000


MERGES = [["a", "b"], ["b", "x"], ["▁", "a"]]


@pytest.mark.parametrize(
    ("merges", "words"),
    [
        (
            [MERGES[1], MERGES[0], MERGES[2]],
            ['merge \'a b\': {"rank":0} in ours, {"rank":1} in theirs', "differ: 2, of"],
        ),
        (MERGES[1:], ["merge 'a b': {\"rank\":0} in ours, nothing in theirs", "differ: 1, of 3 and 2"]),
    ],
)
def test_merges_that_make_another_piece_are_named_and_those_that_only_shift_are_not(merges, words):
    def make(name, merges):
        vocabulary = {piece: n for n, piece in enumerate([*PIECES, "bx"])}
        definition = assemble(dict.fromkeys(OPTIONS, 0) | {"order": 0, "model": "BPE"})
        definition["model"] |= {"vocab": vocabulary, "merges": merges}
        return tokens.Snapshot(name, Path(), Tokenizer.from_str(json.dumps(definition | {"pre_tokenizer": None})))

    a, b = make("ours", MERGES), make("theirs", merges)
    attribution = tokens.attribute_difference(a, b, ["abx abx"])
    assert attribution.stages == (Stage.MODEL,)
    sentence = tokens.explain_attribution(a, b, attribution)
    assert all(word in sentence for word in words)
    assert 'b x\': {"rank":1} in ours, nothing' not in sentence


def test_the_shortened_text_loses_nothing_that_it_needs():
    a, b = tokens.read_snapshots("tiny:e5-metaspace", "tiny:e5-whitespace")
    attribution = tokens.attribute_difference(a, b, ["The capital of France is Paris. " * 20])
    assert attribution.stages == (Stage.PRE_TOKENIZER,)
    assert attribution.witnesses == (" ",)
