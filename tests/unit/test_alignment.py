"""Every place where two snapshots part: held against the encodings themselves, on hostile texts too."""

import json
import tracemalloc
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from benchmarks._corpus import write_snapshots
from benchmarks.tokens_memory import measure_peak
from triage import tokens
from triage.errors import InputError
from triage.report._markup import sanitise_html
from triage.tokens._align import Side, align
from triage.tokens._first import ShortSide, find_only_gap

PIECES = ["<s>", "</s>", "<unk>", "▁", "a", "b", "ab", "▁a", "é", "e", "x", "א", "ב", "<b>"]
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SPLITTERS = [METASPACE, {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]}, BYTES]
NORMALIZERS = [None, {"type": "NFD"}, {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "StripAccents"}]
SPECIAL = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
SPECIAL["special_tokens"] = {t: {"id": t, "ids": [n], "tokens": [t]} for n, t in enumerate(("<s>", "</s>"))}
FIRST, TEXT, LAST = (
    {"SpecialToken": {"id": "<s>", "type_id": 0}},
    {"Sequence": {"id": "A", "type_id": 0}},
    {"SpecialToken": {"id": "</s>", "type_id": 0}},
)
PROCESSORS = [None, [FIRST, TEXT, LAST], [TEXT, LAST], [FIRST, FIRST, TEXT], [TEXT, LAST, TEXT]]
TRUNCATIONS = [
    None,
    *({"direction": d, "max_length": 5, "strategy": "LongestFirst", "stride": 0} for d in ("Left", "Right")),
]


def snapshot(name="A", *, splitter=0, normalizer=0, processor=0, truncation=0, vocabulary=0):
    steps = PROCESSORS[processor]
    definition = {
        "version": "1.0",
        "added_tokens": [],
        "padding": None,
        "decoder": None,
        "normalizer": NORMALIZERS[normalizer],
        "pre_tokenizer": SPLITTERS[splitter],
        "post_processor": None if steps is None else SPECIAL | {"single": steps, "pair": steps},
        "truncation": TRUNCATIONS[truncation],
        "model": {
            "type": "Unigram",
            "unk_id": 2,
            "vocab": [[piece, -1.0] for piece in PIECES[: len(PIECES) - vocabulary]],
            "byte_fallback": False,
        },
    }
    return tokens.Snapshot(name, Path(), Tokenizer.from_str(json.dumps(definition)))


SNAPSHOTS = st.builds(
    snapshot,
    splitter=st.sampled_from(range(len(SPLITTERS))),
    normalizer=st.sampled_from(range(len(NORMALIZERS))),
    processor=st.sampled_from(range(len(PROCESSORS))),
    truncation=st.sampled_from(range(len(TRUNCATIONS))),
    vocabulary=st.integers(0, 5),
)
# Combining marks, right-to-left letters and an override, NUL, an emoji of several characters, white space of all kinds.
HOSTILE = st.text("aAbBeéx \t\n\r\0\u0301\u0323אב\u202e\u200d🙂👩ﬁ\u3000\ufeff\u2028", max_size=16)


@settings(max_examples=200, deadline=None)
@given(SNAPSHOTS, SNAPSHOTS, HOSTILE)
def test_what_is_left_between_the_listed_places_is_the_same_on_both_sides(a, b, text):
    table = tokens.list_divergences(a, b, text)
    ours, theirs = (list(zip(e.ids, e.tokens, strict=True)) for e in (a.encode(text), b.encode(text)))
    rest_a, rest_b, end_a, end_b = [], [], 0, 0
    for row in table.itertuples():
        assert row.index_a >= end_a
        assert row.index_b >= end_b
        rest_a, rest_b = rest_a + ours[end_a : row.index_a], rest_b + theirs[end_b : row.index_b]
        end_a, end_b = row.index_a + len(row.a_tokens), row.index_b + len(row.b_tokens)
        assert tuple(token for _, token in ours[row.index_a : end_a]) == row.a_tokens
        assert tuple(token for _, token in theirs[row.index_b : end_b]) == row.b_tokens
        assert ours[row.index_a : end_a] != theirs[row.index_b : end_b]
        assert 0 <= row.char_start <= row.char_end <= len(text)
        assert row.text == text[row.char_start : row.char_end]
    assert rest_a + ours[end_a:] == rest_b + theirs[end_b:]
    assert (len(table) == 0) is (ours == theirs)


@settings(max_examples=200, deadline=None)
@given(SNAPSHOTS, SNAPSHOTS, st.lists(HOSTILE, min_size=2, max_size=5))
def test_the_first_place_is_the_same_whether_one_text_is_compared_or_many(a, b, texts):
    for comparison in tokens.compare_snapshots(a, b, texts):
        table = tokens.list_divergences(a, b, comparison.text)
        (alone,) = tokens.compare_snapshots(a, b, [comparison.text])
        assert alone == comparison
        assert (comparison.a_count, comparison.b_count) == tuple(len(s.encode(comparison.text)) for s in (a, b))
        if comparison.first_divergence is None:
            assert table.empty
        else:
            first = table.iloc[0]
            place = comparison.first_divergence
            assert (place.index, place.char_start, place.char_end) == (first.index_a, first.char_start, first.char_end)
            assert (place.a_tokens, place.b_tokens) == (first.a_tokens, first.b_tokens)
            assert (place.before, place.after) == (first.before, first.after)


@settings(max_examples=200, deadline=None)
@given(SNAPSHOTS, SNAPSHOTS, HOSTILE)
@example(snapshot(), snapshot(splitter=1, truncation=1), "a b a b a b a b")  # the same ids at the end, other characters
@example(snapshot(), snapshot(), "a b")  # no gap at all
@example(snapshot(), snapshot(splitter=2), "a b")  # as many tokens on both sides
def test_the_short_way_finds_the_very_gap_of_the_long_one_or_none(a, b, text):
    one, other = a.encode(text), b.encode(text)
    gap = find_only_gap(ShortSide.read(one), ShortSide.read(other))
    assert gap is None or [gap] == align(Side.read(one), Side.read(other))


@settings(max_examples=100, deadline=None)
@given(SNAPSHOTS, HOSTILE)
def test_a_snapshot_parts_nowhere_from_itself(a, text):
    assert tokens.list_divergences(a, a, text).empty


def test_every_lost_space_is_a_place_of_its_own_with_what_stands_around_it():
    table = tokens.list_divergences(snapshot(), snapshot(splitter=1), "a  b  a ", context=1)
    assert table["text"].tolist() == [" ", " ", " "]
    assert table[["char_start", "char_end"]].to_numpy().tolist() == [[2, 3], [4, 5], [7, 8]]
    assert table["before"].tolist() == [("▁",), ("b",), ("▁a",)]


def test_a_text_cut_on_the_other_side_parts_where_the_cut_is():
    table = tokens.list_divergences(snapshot(), snapshot(truncation=1), "a b a b a b a b")
    assert table["b_tokens"].tolist() == [()]
    assert len(table["a_tokens"][0]) == len(snapshot().encode("a b a b a b a b")) - 5


def test_a_special_token_is_lost_at_the_end_where_it_stood():
    table = tokens.list_divergences(snapshot(processor=1), snapshot(processor=3), "ab")
    assert table[["char_start", "char_end"]].to_numpy().tolist() == [[0, 0], [2, 2]]
    assert table["a_tokens"].tolist() == [(), ("</s>",)]
    assert table["b_tokens"].tolist() == [("<s>",), ()]


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "é\udc80"])
def test_a_lone_surrogate_is_one_sentence_with_its_place(text):
    place = next(i for i, c in enumerate(text) if 0xD800 <= ord(c) <= 0xDFFF)
    for ask in (tokens.list_divergences, tokens.render_alignment, lambda a, b, t: tokens.compare_snapshots(a, b, [t])):
        with pytest.raises(InputError, match=f"U\\+{ord(text[place]):04X}, as character {place}"):
            ask(snapshot(), snapshot(splitter=1), text)


def test_memory_grows_no_faster_than_the_text():
    a, b = snapshot(), snapshot(splitter=1)
    peaks = []
    for repeat in (1_000, 4_000):
        text = "ab  é x  " * repeat
        tracemalloc.start()
        assert len(tokens.list_divergences(a, b, text)) > repeat
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 5 * peaks[0]


def test_the_memory_of_a_whole_comparison_is_linear_in_the_text(tmp_path):
    paths = write_snapshots(tmp_path)
    one, four = (measure_peak(megabytes, *paths) for megabytes in (1, 4))  # bytes for each byte of the text
    assert four < 1.4 * one


def test_the_picture_survives_the_reports_sanitiser_with_its_marks_and_colours():
    picture = tokens.render_alignment(snapshot("ours"), snapshot("theirs", splitter=1), "a  b ")
    soup = BeautifulSoup(sanitise_html(picture._repr_html_()), "html.parser")
    assert [tag.text for tag in soup.find_all("del")] == ["-▁", "-▁"]
    assert all("background-color" in tag["style"] for tag in soup.find_all("del"))
    assert [th["scope"] for th in soup.find_all("th")] == ["col", "col", "col", "row", "row"]
    assert "ours and theirs part at 2 places" in soup.caption.text
    assert "dir" in soup.find("del").span.attrs
    assert sanitise_html(picture.html) == sanitise_html(sanitise_html(picture.html))


@pytest.mark.parametrize("text", ["<b>", "<script>alert(1)</script> ", "a\0\u202e ", "&lt; "])
def test_nothing_of_a_text_becomes_markup_or_turns_the_page_around(text):
    picture = tokens.render_alignment(snapshot("<i>A</i>"), snapshot("B", splitter=1, vocabulary=1), text)
    soup = BeautifulSoup(picture.html, "html.parser")
    assert not soup.find_all(["b", "i", "script"])
    assert not set(picture.html) & {"\0", "\u202e"}
    assert soup.find_all("del")


def test_a_picture_of_many_places_says_how_many_it_leaves_out():
    picture = tokens.render_alignment(snapshot("A"), snapshot("B", splitter=1), "a  " * 50, places=3)
    assert picture.html.count("<tr>") == 1 + 3
    assert "47 more places are not shown" in picture.html
    assert "47 more places are not shown" in str(picture)


def test_a_picture_of_nothing_says_so():
    assert tokens.render_alignment(snapshot("A"), snapshot("B"), "a").html == "<p>A and B part at no places.</p>"
    named = tokens.render_alignment(snapshot("A"), snapshot("B"), "a", name="<query>")
    assert named.html == "<p>&lt;query&gt;: A and B part at no places.</p>"
