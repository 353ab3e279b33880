"""Plain texts compared by their words: held against the encodings of the whole texts, on random pipelines."""

import json
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from triage import tokens
from triage.tokens._pipelines import find_breaks
from triage.tokens._trial_child import KNOWN_PATTERNS
from triage.tokens._words import count_by_words

PIECES = ["<s>", "</s>", "▁", *"abxAB.1~", "▁a", "▁b", "ab", "Ġa", "Ġ", "##b", "b.", "▁ab"]
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SPACES = {"type": "WhitespaceSplit"}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
PUNCTUATION = {"type": "Punctuation", "behavior": "MergedWithNext"}
SPLITTERS = [
    METASPACE,
    METASPACE | {"prepend_scheme": "first"},
    METASPACE | {"prepend_scheme": "never"},
    [SPACES, METASPACE],
    [SPACES, METASPACE | {"prepend_scheme": "first", "split": False}],
    [SPACES, PUNCTUATION, {"type": "Digits", "individual_digits": True}],
    {"type": "BertPreTokenizer"},
    {"type": "Whitespace"},
    BYTES,
    BYTES | {"add_prefix_space": True},
    *([SPLIT | {"pattern": {"Regex": regex}}, BYTES | {"use_regex": False}] for regex in sorted(KNOWN_PATTERNS)),
]
BERT = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
NORMALIZERS = [
    None,
    {"type": "NFKC"},
    {"type": "Lowercase"},
    BERT | {"lowercase": True},
    {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
    {"type": "Replace", "pattern": {"String": "ab"}, "content": "a b"},
    {"type": "Replace", "pattern": {"String": "A"}, "content": "  "},
]
REFUSED = {
    "nothing splits": {"pre_tokenizer": None},
    "a pattern nobody knows": {"pre_tokenizer": SPLIT | {"pattern": {"Regex": "a b"}}},
    "a known pattern, inverted": {"pre_tokenizer": SPLIT | {"pattern": {"Regex": min(KNOWN_PATTERNS)}, "invert": True}},
    "words are not split": {"pre_tokenizer": METASPACE | {"split": False}},
    "bytes are not split": {"pre_tokenizer": BYTES | {"use_regex": False}},
    "a later step that counts": {"pre_tokenizer": [SPACES, {"type": "FixedLength", "length": 5}]},
    "spaces are replaced": {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}},
    "a pattern replaces": {"normalizer": {"type": "Replace", "pattern": {"Regex": "."}, "content": "▁"}},
    "something comes first": {"normalizer": {"type": "Prepend", "prepend": "▁"}},
    "an added token with a space": {"added_tokens": [("a b", {})]},
    "the text comes twice": {"processor": [0, 0]},
}
FRAME = {"pair": [], "special_tokens": {t: {"id": t, "ids": [n], "tokens": [t]} for n, t in enumerate(PIECES[:2])}}
TEXT, FIRST, LAST = (
    {"Sequence": {"id": "A", "type_id": 0}},
    *({"SpecialToken": {"id": t, "type_id": 0}} for t in PIECES[:2]),
)


def snapshot(*, pre_tokenizer=METASPACE, normalizer=None, added_tokens=(), processor=None, model="BPE", **more):
    whole = {"version": "1.0", "padding": None, "decoder": None, "truncation": None, "normalizer": normalizer}
    several = isinstance(pre_tokenizer, list)
    whole["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": pre_tokenizer} if several else pre_tokenizer
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    order = [*more.get("pieces", PIECES), *(content for content, _ in added_tokens)]
    whole["added_tokens"] = [
        {"id": order.index(content), "content": content} | flags | own for content, own in added_tokens
    ]
    single = None if processor is None else [(TEXT, FIRST, LAST)[part] for part in processor]
    whole["post_processor"] = single and FRAME | {"type": "TemplateProcessing", "single": single}
    if more.get("cut"):
        whole["truncation"] = {"direction": "Left", "max_length": more["cut"], "strategy": "LongestFirst", "stride": 0}
    numbers = {piece: n for n, piece in enumerate(more.get("pieces", PIECES))}
    whole["model"] = {
        "BPE": {"vocab": numbers, "merges": [["a", "b"], ["▁", "a"], ["Ġ", "a"], ["b", "."]], "unk_token": "x"},
        "Unigram": {"vocab": [[piece, -1.0 - len(piece) % 2] for piece in numbers], "unk_id": 0},
        "WordPiece": {"vocab": numbers, "unk_token": "x", "continuing_subword_prefix": "##"},
    }[model] | {"type": model}
    if model == "WordPiece":
        whole["model"]["max_input_chars_per_word"] = 3
    return tokens.Snapshot("s", Path(), Tokenizer.from_str(json.dumps(whole)))


FLAGS = st.fixed_dictionaries(
    dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), st.booleans())
)
PIPELINES = {
    "pre_tokenizer": st.sampled_from([*SPLITTERS, METASPACE | {"replacement": "b"}]),
    "normalizer": st.sampled_from(NORMALIZERS),
    "added_tokens": st.lists(
        st.tuples(st.sampled_from(["ab", "B.", "~", "ﬁ"]), FLAGS), max_size=2, unique_by=lambda t: t[0]
    ),
    "processor": st.sampled_from([None, [0], [1, 0, 2], [0, 2]]),
    "model": st.sampled_from(["BPE", "Unigram", "WordPiece"]),
    "cut": st.sampled_from([None, None, 5]),
    "pieces": st.sampled_from([PIECES, PIECES[:-1], [*PIECES[:3], *reversed(PIECES[3:])]]),
}
WORDS = ["a", "ab", "ba.", "AB", "1b", "~", "x", "b's", "fi"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).flatmap(
    lambda words: st.lists(
        st.builds(
            lambda parts, end: " ".join(parts) + end,
            st.lists(st.sampled_from([*words, "a", "x"]), min_size=12, max_size=20),
            st.sampled_from(["", "", " "]),
        ),
        min_size=3,
        max_size=6,
    )
)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries(PIPELINES), st.data(), TEXTS)
def test_a_text_of_equal_words_is_encoded_alike_and_counted_right(one, data, texts):
    changed = data.draw(st.sets(st.sampled_from(sorted(PIPELINES)), max_size=2))
    a, b = snapshot(**one), snapshot(**one | {name: data.draw(PIPELINES[name]) for name in sorted(changed)})
    alike, doubtful = count_by_words(a, b, texts)
    event(f"some alike: {bool(alike)}, some doubtful: {bool(doubtful)}")
    assert not alike.keys() & doubtful
    for text, count in alike.items():
        ours, theirs = a.encode(text), b.encode(text)
        assert (ours.ids, ours.tokens) == (theirs.ids, theirs.tokens)
        assert len(ours.ids) == count


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_every_pipeline_that_splits_at_spaces_is_asked_word_by_word(splitter):
    texts = [f"ab {word} a ab {word} a" for word in ("a", "b", "ab", "ba")]
    alike, doubtful = count_by_words(snapshot(pre_tokenizer=splitter), snapshot(pre_tokenizer=splitter), texts)
    assert (list(alike), doubtful) == (texts, set())


@pytest.mark.parametrize("name", REFUSED)
def test_a_pipeline_that_may_look_further_than_a_word_is_not(name):
    changes = dict(REFUSED[name])
    assert find_breaks(snapshot()) is not None
    assert find_breaks(snapshot(**changes)) is None


def test_a_word_that_an_added_token_stands_in_is_left_to_the_whole_text():
    added = [("b.", {"lstrip": True})]
    texts = [f"a {word} a a a {word} a a a" for word in ("ab", "b.a", "a")]
    alike, doubtful = count_by_words(snapshot(), snapshot(added_tokens=added), texts)
    assert (list(alike), doubtful) == ([texts[0], texts[2]], {texts[1]})


def test_other_special_tokens_around_the_text_leave_nothing_to_the_words():
    texts = ["a a a a a a a a", "a a a a a a a a a"]
    assert count_by_words(snapshot(processor=[1, 0]), snapshot(processor=[0, 2]), texts) == ({}, set())


@pytest.mark.parametrize("text", ["é a a a", "a  a a", " a a a", "a\ta a", "a\x7f a", ""])
def test_a_text_that_is_not_plain_is_left_alone(text):
    alike, doubtful = count_by_words(snapshot(), snapshot(), ["a a a a a a a a a a", text])
    assert text not in {*alike, *doubtful}
    assert alike


def test_a_word_that_holds_the_anchor_does_not_spoil_the_words_beside_it():
    added = [("~", {})]
    texts = [f"a {word} a ab a ab a ab a ab a ab a" for word in ("1b", "x", "1ab", "AB", "ab.", "1~")]
    alike, doubtful = count_by_words(snapshot(), snapshot(added_tokens=added), texts)
    assert (list(alike), doubtful) == (texts[:-1], {texts[-1]})


def test_a_space_at_the_end_is_a_word_of_its_own():
    texts = [f"a ab a {word} a ab a ab a ab {end}" for word in ("x", "b") for end in ("", "a", "b")]
    spaces = {text for text in texts if text.endswith(" ")}
    keeps, drops = snapshot(), snapshot(pre_tokenizer=[SPACES, METASPACE])
    counts = {text: len(keeps.encode(text).ids) for text in texts}
    assert count_by_words(keeps, keeps, texts) == (counts, set())
    assert count_by_words(keeps, drops, texts) == ({t: counts[t] for t in texts if t not in spaces}, spaces)


def test_a_text_that_is_cut_is_left_alone():
    short, long = "a a a", "a a a a a a a a a a"
    assert count_by_words(snapshot(cut=5), snapshot(cut=6), [short, long])[0] == {short: 3}


def test_words_of_other_ids_are_not_alike_though_as_many():
    swapped = ["1" if piece == "~" else "~" if piece == "1" else piece for piece in PIECES]
    texts = [f"a {word} a ab a ab a ab a ab" for word in ("x", "1", "ab")]
    alike, doubtful = count_by_words(snapshot(), snapshot(pieces=swapped), texts)
    assert (list(alike), doubtful) == ([texts[0], texts[2]], {texts[1]})


def test_special_tokens_that_look_like_words_stay_where_they_stand():
    before, behind = snapshot(), snapshot()
    for one, single in ((before, "▁a $A"), (behind, "$A ▁a")):
        special = [("▁a", PIECES.index("▁a"))]
        one.tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    assert before.encode("a").ids == behind.encode("a").ids
    assert count_by_words(before, behind, ["a ab a ab a ab a ab", "a ab a ab a ab"]) == ({}, set())
