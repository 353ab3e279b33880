"""What counts alone say, which of two causes moved them, and what a wider expectation hides."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from triage import tokens
from triage.errors import InputError
from triage.tokens import DriftCause, Role

LIMIT = 3
REQUESTS = tokens.list_truncations(LIMIT)
WHOLE = {request.name: request.whole for request in REQUESTS}
NAMES = [request.name for request in REQUESTS]


def make_snapshot(*, keep_spaces: bool = True) -> tokens.Snapshot:
    pieces = ["<s>", "</s>", "<unk>", "▁", "▁a", "▁b", "a", "b"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    split = [] if keep_spaces else [pre_tokenizers.WhitespaceSplit()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, pre_tokenizers.Metaspace()])
    tokenizer.normalizer = normalizers.Lowercase()
    special = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    return tokens.Snapshot("keeps" if keep_spaces else "drops", Path(), tokenizer)


@given(
    st.dictionaries(st.sampled_from(["query", "document", "title"]), st.integers(-3, 3), min_size=1),
    st.integers(-2, 2),
    st.data(),
)
def test_a_text_is_decided_exactly_where_all_solutions_agree(drifts, overhead, data):
    masks = data.draw(st.lists(st.sets(st.sampled_from(sorted(drifts))), min_size=1, max_size=5))
    whole = {f"r{n}": sorted(mask) for n, mask in enumerate(masks)}
    drift = {name: overhead + sum(drifts[text] for text in texts) for name, texts in whole.items()}
    parts = {part.name: part for part in tokens.locate_drift(drift, whole=whole)}
    names = list(parts)
    solutions = [
        dict(zip(names, values, strict=True))
        for values in product(range(-6, 7), repeat=len(names))
        if all(
            values[names.index("special tokens")] + sum(values[names.index(t)] for t in texts) == drift[name]
            for name, texts in whole.items()
        )
    ]
    truth = {"special tokens": overhead} | drifts
    assert {name: truth[name] for name in names} in solutions
    for name, part in parts.items():
        seen = {solution[name] for solution in solutions}
        if part.role is Role.UNDECIDED:
            assert part.drift is None
            assert len(seen) > 1
        else:
            assert seen == {part.drift} == {truth[name]}
            assert (part.role is Role.CARRIES) is (part.drift != 0)


def test_one_count_of_a_ci_log_decides_nothing():
    parts = tokens.locate_drift({NAMES[0]: 1}, whole=WHOLE)
    assert {part.role for part in parts} == {Role.UNDECIDED}


def test_counts_that_no_drift_of_the_texts_gives_are_refused():
    drift = dict(zip(NAMES, (1, 0, 0, 0), strict=True))
    with pytest.raises(InputError, match="No drift of the texts gives these counts"):
        tokens.locate_drift(drift, whole=WHOLE)


def test_a_request_that_nobody_described_is_refused():
    with pytest.raises(InputError, match="Nothing says which texts surprise sends whole"):
        tokens.locate_drift({"surprise": 1}, whole=WHOLE)


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


def plant(query: str, document: str):
    """The planted faults under a strict and a widened expectation, as the notebook does it."""
    a, b = make_snapshot(), make_snapshot(keep_spaces=False)
    counts = {s.name: tokens.predict_rerank(s, query=query, document=document, truncations=REQUESTS) for s in (a, b)}
    strict = counts[a.name]
    widened = {r: tokens.choose_expectation([counts[s.name][r] for s in (a, b)]) for r in NAMES}
    faults = tokens.plant_regressions(a, query=query, document=document, truncations=REQUESTS, served=strict)
    return tokens.tabulate_masking(faults, strict=strict, widened=widened), tokens.list_strict_requests(counts)


def test_a_wider_expectation_masks_the_very_faults_that_look_like_the_drift():
    table, stay_strict = plant("a b a b a", "b a b a ")
    assert table.loc["texts stripped before they are encoded", "verdict"] == "masked"
    assert table.loc["one piece of the document lost", "verdict"] == "masked"
    assert table.loc["a special token of each text lost", "verdict"] == "caught"
    assert table.loc["texts cut on the wrong side", "verdict"] == "invisible"
    assert stay_strict == (f"document cut to {LIMIT}", f"both cut to {LIMIT}")


def test_without_a_drift_nothing_is_masked():
    table, stay_strict = plant("a b a b a", "b a b a b")
    assert "masked" not in set(table["verdict"])
    assert stay_strict == tuple(NAMES)


def test_a_skipped_normalizer_shows_only_on_texts_that_it_changes():
    assert plant("A B A B A", "b a b a b")[0].loc["normalisation skipped", "verdict"] == "caught"
    assert plant("a b a b a", "b a b a b")[0].loc["normalisation skipped", "verdict"] == "invisible"


def test_the_proposal_names_only_the_lines_that_change():
    text = tokens.propose_lines(["whole", "cut"], before=[(285, 286), 155], after={"a": 285, "b": 155}, path="t.py")
    assert text.splitlines()[1:] == ["-        whole=(285, 286),", "+        whole=285,", "         cut=155,"]


def test_an_expectation_that_is_already_the_tightest_has_nothing_to_change():
    text = tokens.propose_lines(["whole"], before=[(284, 285)], after={"a": (284, 285)}, path="t.py")
    assert "nothing to change" in text
    assert not [line for line in text.splitlines() if line.startswith(("-", "+"))]
