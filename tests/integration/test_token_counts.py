"""The upstream token-count case, served by real vLLM."""

import pytest

from triage import Verdict, read_case, tokens

pytestmark = pytest.mark.engine

CASE = read_case("e5-token-count")
ARGS = ("--runner", "pooling", "--enforce-eager", "--max-model-len", "512")


def reproduce(serve, *, document: str, query: str, limit: int):
    """What the notebook does: both snapshots served, compared, and judged."""
    a, b = tokens.read_snapshots(CASE.parameters["snapshot_a"], CASE.parameters["snapshot_b"])
    truncations = tokens.list_truncations(limit)
    texts = {"query": query, "document": document}
    served = {s.name: tokens.measure_rerank(serve(s.name, *ARGS), **texts, truncations=truncations) for s in (a, b)}
    predicted = {s.name: tokens.predict_rerank(s, **texts, truncations=truncations) for s in (a, b)}
    result = tokens.classify_token_counts(
        case=CASE.id, served=served, predicted=predicted, comparisons=tokens.compare_named(a, b, texts)
    )
    return [list(counts.values()) for counts in served.values()], result


def test_the_upstream_texts_give_upstreams_counts(serve):
    repeat = CASE.parameters["repeat"]
    counts, result = reproduce(
        serve,
        query=CASE.parameters["query"] * repeat,
        document=CASE.parameters["document"] * repeat,
        limit=CASE.parameters["limit"],
    )
    assert counts == [[285, 155, 154, 24], [284, 154, 154, 24]]
    assert result.verdict is Verdict.REPRODUCED
    assert "document's trailing space (character 639) is ▁ in tiny:e5-metaspace" in result.cause


def test_another_text_moves_the_drift_to_the_text_that_carries_it(serve):
    counts, result = reproduce(serve, query="What is it? " * 3, document="Paris is the capital.", limit=4)
    drift = [x - y for x, y in zip(*counts, strict=True)]
    assert drift == [1, 0, 1, 0]
    assert "The query's trailing space" in result.cause


def test_without_a_trailing_space_nothing_drifts(serve):
    counts, result = reproduce(serve, query="What is it?", document="It is Paris.", limit=4)
    assert counts[0] == counts[1]
    assert result.verdict is Verdict.NOT_REPRODUCED


def test_a_larger_limit_moves_every_cut_count(serve):
    (ten, _), _ = reproduce(serve, query="the capital of France " * 9, document="it is Paris " * 9, limit=10)
    (twelve, _), _ = reproduce(serve, query="the capital of France " * 9, document="it is Paris " * 9, limit=12)
    assert [y - x for x, y in zip(ten, twelve, strict=True)] == [0, 2, 2, 4]


def test_every_endpoint_counts_a_text_as_the_tokenizer_alone_does(serve):
    texts = {"query": "What is the capital of France?", "document": "The capital of France is Paris. ", "nothing": " "}
    for name in (CASE.parameters["snapshot_a"], CASE.parameters["snapshot_b"]):
        (snapshot,) = tokens.read_snapshots(name)
        table = tokens.measure_texts(serve(name, *ARGS), snapshot, texts)
        assert list(table.columns) == ["tokenizer alone", "/tokenize", "/v1/embeddings"]
        assert len(table) == len(texts)
        assert (table.nunique(axis=1) == 1).all(), table.to_string()


def test_the_served_counts_alone_say_which_text_drifts_even_where_a_limit_cuts_nothing(serve):
    a, b = CASE.parameters["snapshot_a"], CASE.parameters["snapshot_b"]
    texts = {"query": "What is it?", "document": "Paris is the capital. "}
    for limit in (3, 100):
        truncations = tokens.list_truncations(limit)
        served = [tokens.measure_rerank(serve(name, *ARGS), **texts, truncations=truncations) for name in (a, b)]
        parts = tokens.locate_drift(*served, limits={t.name: t.limits for t in truncations})
        carrying = {part.name: part.drift for part in parts if part.role is tokens.Role.CARRIES}
        assert carrying == ({"document": 1} if limit == 3 else {})
        cause = tokens.separate_causes(
            *served,
            **{
                f"predicted_{when}": tokens.predict_rerank(snapshot, **texts, truncations=truncations)
                for when, snapshot in zip(("before", "after"), tokens.read_snapshots(a, b), strict=True)
            },
        )
        assert cause == "the snapshot"
