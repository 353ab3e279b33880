"""What counts alone say, which of two causes moved them, and what a wider expectation hides."""

from itertools import product
from math import inf
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from triage import read_case, tokens
from triage.errors import InputError
from triage.tokens import DriftCause, Role

LIMIT = 3
REQUESTS = tokens.list_truncations(LIMIT)
CUT_AT_10 = {request.name: request.limits for request in tokens.list_truncations(10)}
NAMES = list(CUT_AT_10)


def make_snapshot(*, keep_spaces: bool = True, lowercase: bool = True) -> tokens.Snapshot:
    pieces = ["<s>", "</s>", "<unk>", "▁", "▁a", "▁b", "a", "b"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    split = [] if keep_spaces else [pre_tokenizers.WhitespaceSplit()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, pre_tokenizers.Metaspace()])
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    special = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    return tokens.Snapshot("keeps" if keep_spaces else "drops", Path(), tokenizer)


LENGTHS = st.dictionaries(st.sampled_from(["query", "document", "title"]), st.integers(0, 6), min_size=1)
CUTS = st.one_of(st.none(), st.integers(1, 5))


def count(lengths, requests):
    """What a server counts of each request: its texts, each at most to its limit, and the special tokens."""
    return {
        name: lengths["special tokens"] + sum(min(lengths[t], inf if n is None else n) for t, n in texts.items())
        for name, texts in requests.items()
    }


@settings(deadline=None)
@given(LENGTHS, st.data())
def test_a_text_is_decided_only_where_all_solutions_agree(lengths, data):
    texts = st.dictionaries(st.sampled_from(sorted(lengths)), CUTS, max_size=3)
    requests = {f"r{n}": texts for n, texts in enumerate(data.draw(st.lists(texts, min_size=1, max_size=5)))}
    before = lengths | {"special tokens": data.draw(st.integers(0, 3))}
    after = {name: max(0, length + data.draw(st.integers(-1, 1))) for name, length in before.items()}
    sides = [count(side, requests) for side in (before, after)]
    parts = {part.name: part for part in tokens.locate_drift(*sides, limits=requests)}
    names = list(parts)
    solutions = [[], []]
    for values in product(range(12), repeat=len(names)):
        tried = dict(zip(names, values, strict=True))
        for found, counts in zip(solutions, sides, strict=True):
            if count(tried, requests) == counts:
                found.append(tried)
    for name, part in parts.items():
        ours, theirs = ({solution[name] for solution in found} for found in solutions)
        drifts = {x - y for x in ours for y in theirs}
        assert part.before is None or {part.before} == ours == {before[name]}
        assert part.after is None or {part.after} == theirs == {after[name]}
        assert part.role is not Role.CARRIES or 0 not in drifts
        assert part.role is not Role.CANNOT or drifts == {0}
        event(str(part.role))


@pytest.mark.parametrize(
    ("before", "after", "carrying"),
    [
        ((286, 156, 155, 25), (285, 155, 155, 25), {"document": 1}),
        ((286, 156, 155, 25), (284, 155, 154, 25), {"query": 1, "document": 1}),
        ((286, 156, 155, 25), (285, 155, 154, 24), {"special tokens": 1}),
        ((286, 156, 155, 25), (284, 154, 154, 24), {"document": 1, "special tokens": 1}),
        ((286, 156, 155, 25), (286, 156, 155, 25), {}),
    ],
)
def test_the_four_counts_of_a_log_say_which_text_drifts_and_by_how_much(before, after, carrying):
    before, after = (dict(zip(CUT_AT_10, counts, strict=True)) for counts in (before, after))
    parts = tokens.locate_drift(before, after, limits=CUT_AT_10)
    assert {part.name: part.drift for part in parts if part.role is Role.CARRIES} == carrying
    assert all(part.role is Role.CANNOT for part in parts if part.name not in carrying)
    assert [part.before for part in parts] == [140, 141, 5]


def test_a_limit_that_cuts_nothing_is_no_contradiction():
    """With a limit of 150, or of 140 that cuts only the longer of the two, the four counts still fit."""
    for limit, drifts in ((150, (1, 1, 1, 1)), (140, (1, 1, 0, 0))):
        requests = {t.name: t.limits for t in tokens.list_truncations(limit)}
        before = count({"query": 140, "document": 141, "special tokens": 4}, requests)
        after = count({"query": 140, "document": 140, "special tokens": 4}, requests)
        assert tuple(before[r] - after[r] for r in requests) == drifts
        roles = {part.name: part.role for part in tokens.locate_drift(before, after, limits=requests)}
        assert roles["query"] is not Role.CARRIES


def test_one_count_of_a_ci_log_decides_nothing():
    parts = tokens.locate_drift({NAMES[0]: 286}, {NAMES[0]: 285}, limits=CUT_AT_10)
    assert {part.role for part in parts} == {Role.UNDECIDED}
    assert "do not decide between query, document, special tokens" in tokens.explain_segments(parts)


def test_counts_that_no_lengths_of_the_texts_give_are_refused():
    before, after = (dict(zip(CUT_AT_10, counts, strict=True)) for counts in ((286, 156, 155, 25), (285, 156, 155, 25)))
    with pytest.raises(InputError, match="No lengths of the texts give the counts 285, 156, 155, 25"):
        tokens.locate_drift(before, after, limits=CUT_AT_10)


def test_a_request_that_nobody_described_is_refused():
    with pytest.raises(InputError, match="Nothing says which texts surprise sends"):
        tokens.locate_drift({"surprise": 1}, {"surprise": 1}, limits=CUT_AT_10)


def test_more_cases_than_can_be_tried_are_refused():
    requests = {f"r{n}": {f"t{k}": n + 1 for k in range(9)} for n in range(9)}
    with pytest.raises(InputError, match="too many texts and limits"):
        tokens.locate_drift(dict.fromkeys(requests, 1), dict.fromkeys(requests, 1), limits=requests)


@pytest.mark.parametrize(
    ("snapshot", "accounting", "cause"),
    [
        (0, 0, DriftCause.NOTHING),
        (1, 0, DriftCause.SNAPSHOT),
        (0, -1, DriftCause.ACCOUNTING),
        (1, -1, DriftCause.BOTH),
        (2, 1, DriftCause.BOTH),
    ],
)
def test_a_drift_goes_to_the_snapshot_to_the_accounting_or_to_both(snapshot, accounting, cause):
    before = {"r": 10, "s": 5}
    predicted_after = {"r": 10 + snapshot, "s": 5}
    after = {"r": 10 + snapshot + accounting, "s": 5 + accounting}
    got = tokens.separate_causes(before, after, predicted_before=before, predicted_after=predicted_after)
    assert got is cause


def test_counts_of_other_requests_cannot_be_separated():
    with pytest.raises(InputError, match="not of the same requests"):
        tokens.separate_causes({"r": 1}, {"s": 1}, predicted_before={"r": 1}, predicted_after={"r": 1})


def test_the_tightest_expectation_covers_the_snapshots_and_nothing_else():
    expected = tokens.choose_expectation([285, 284, 285])
    for count in range(280, 290):
        if count in (284, 285):
            tokens.assert_prompt_tokens(count, expected)
        else:
            with pytest.raises(AssertionError, match=f"prompt_tokens is {count}"):
                tokens.assert_prompt_tokens(count, expected)


def plant(query: str, document: str, **both):
    """The planted faults under a strict and a widened expectation, as the notebook does it."""
    snapshots = make_snapshot(**both), make_snapshot(keep_spaces=False, **both)
    texts = {"query": query, "document": document, "truncations": REQUESTS}
    counts = {s.name: tokens.predict_rerank(s, **texts) for s in snapshots}
    widened = {r.name: tokens.choose_expectation([counts[s.name][r.name] for s in snapshots]) for r in REQUESTS}
    faults = {s.name: tokens.plant_regressions(s, **texts, served=counts[s.name]) for s in snapshots}
    tables = (
        tabulate(faults, served=counts, widened=widened)
        for tabulate in (tokens.tabulate_masking, tokens.tabulate_strictness)
    )
    return *tables, tokens.list_strict_requests(counts)


def test_a_wider_expectation_masks_the_very_faults_that_look_like_the_drift():
    table, _, stay_strict = plant("a b a b a", "b a b a ")
    masked = {"texts stripped before they are encoded", "one piece of the document lost"}
    assert set(table.index[table["verdict"] == "masked"]) == {*masked, "one piece of the document doubled"}
    for fault in (
        "a special token of each text lost",
        "the separator of each text doubled",
        "every limit one too high",
    ):
        assert table.loc[fault, "verdict"] == "caught"
    assert table.loc["texts cut on the wrong side", "verdict"] == "invisible"
    assert stay_strict == (f"document cut to {LIMIT}", f"both cut to {LIMIT}")


def test_the_requests_that_must_stay_strict_are_named_with_what_they_alone_catch():
    _, table, stay_strict = plant("a b a b a", "b a b a ")
    assert tuple(table.index[table["must stay strict"] == "yes"]) == stay_strict
    alone = table["caught by strict requests alone"]
    assert set(alone[[r.name for r in REQUESTS if r.name not in stay_strict]]) == {"nothing"}
    assert "one special token fewer in each request" in alone[f"both cut to {LIMIT}"]
    assert "the document's limit ignored" in alone[f"document cut to {LIMIT}"]


def test_without_a_drift_nothing_is_masked():
    table, _, stay_strict = plant("a b a b a", "b a b a b")
    assert "masked" not in set(table["verdict"])
    assert len(stay_strict) == len(REQUESTS)


def test_a_skipped_normalizer_shows_only_on_texts_that_it_changes():
    assert plant("A B A B A", "b a b a b")[0].loc["normalisation skipped", "verdict"] == "caught"
    assert plant("a b a b a", "b a b a b")[0].loc["normalisation skipped", "verdict"] == "invisible"
    none = plant("a b a b a", "b a b a b", lowercase=False)[0]
    assert none.loc["normalisation skipped (there is none)", "verdict"] == "invisible"


@pytest.mark.parametrize("kind", ["TemplateProcessing", "BertProcessing", "RobertaProcessing", "Sequence", None])
def test_special_tokens_are_really_lost_and_doubled_whatever_adds_them(kind):
    snapshot = make_snapshot()
    ends = ("</s>", 1), ("<s>", 0)
    snapshot.tokenizer.post_processor = {
        "TemplateProcessing": snapshot.tokenizer.post_processor,
        "BertProcessing": processors.BertProcessing(*ends),
        "RobertaProcessing": processors.RobertaProcessing(*ends),
        "Sequence": processors.Sequence([processors.ByteLevel(), processors.BertProcessing(*ends)]),
        None: processors.Sequence([]),
    }[kind]
    texts = {"query": "a b a b a", "document": "b a b a ", "truncations": REQUESTS}
    healthy = tokens.predict_rerank(snapshot, **texts)
    faults = {f.name: f.counts for f in tokens.plant_regressions(snapshot, **texts, served=healthy)}
    suffix, each = (" (there is none)", 0) if kind is None else ("", 2)  # one token in each of the two texts
    lost, doubled = (f"a special token of each text lost{suffix}", f"the separator of each text doubled{suffix}")
    assert faults[lost] == {name: counted - each for name, counted in healthy.items()}
    assert faults[doubled] == {name: counted + each for name, counted in healthy.items()}


def test_the_proposal_names_only_the_lines_that_change():
    text = tokens.propose_lines(["whole", "cut"], before=[(285, 286), 155], after={"a": 285, "b": 155}, path="t.py")
    assert text.splitlines()[1:] == ["-        whole=(285, 286),", "+        whole=285,", "         cut=155,"]


def test_an_expectation_that_is_already_the_tightest_has_nothing_to_change():
    text = tokens.propose_lines(["whole"], before=[(284, 285)], after={"a": (284, 285)}, path="t.py")
    assert "nothing to change" in text
    assert not [line for line in text.splitlines() if line.startswith(("-", "+"))]


def test_a_proposal_for_requests_that_are_not_the_tests_is_no_diff():
    text = tokens.propose_lines(["whole"], before=None, after={"a": (284, 285)}, path="t.py")
    assert text.startswith("# t.py expects nothing known of these requests")
    assert not [line for line in text.splitlines() if line.startswith(("-", "+"))]


@pytest.mark.parametrize("name", ["query", "document", "repeat", "limit"])
def test_upstream_expects_nothing_known_of_other_texts_or_limits(name):
    case = read_case("e5-token-count")
    history = case.upstream_facts["expected_prompt_tokens"]
    asked = {name: case.parameters[name] for name in ("query", "document", "repeat", "limit")}
    assert tokens.select_history(history, asked=asked, upstream=case.parameters) == history
    other = asked | {name: asked[name] * 2}
    assert tokens.select_history(history, asked=other, upstream=case.parameters) == []
