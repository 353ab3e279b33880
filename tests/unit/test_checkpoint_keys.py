"""Key diffs and the verdict, on small evidence: what is taken away must not be guessed."""

from dataclasses import replace
from pathlib import Path

import pytest

from triage.checkpoints import (
    EngineStart,
    ModelDiff,
    classify_checkpoint_keys,
    compare_keys,
    explain_end,
    explain_key,
    fold_layers,
    grow_tree,
    plot_keys,
)
from triage.engine.history import VersionPair
from triage.engine.weights import End, Fate, Rule, RuleKind, Step, WeightMap, WeightRequest
from triage.errors import EngineError
from triage.result import Verdict

OLD = VersionPair(vllm="0.21.0", transformers="5.8.1", folders=(Path("/versions/old"),))
NOW = VersionPair(vllm="0.32.0", transformers="5.19.0")
KEY = "tower.vision_model.a"
EXPECTED = {"model.tower.a": (2,), "model.text.b": (3,)}
FIRST = Rule(kind=RuleKind.REGEX, pattern="^tower", replacement="model.tower")
LATE = Rule(kind=RuleKind.REGEX, pattern=r"^tower\.vision_model\.(.+)$", replacement=r"tower.\1")
STARTED = EngineStart(error=None, startup_s=20.0, completion_tokens=4, transformers_backend=True)


def map_keys(mapped, versions, *, steps=(), load_error=None) -> ModelDiff:
    """A checkpoint of which each key is mapped as given; the shapes follow the last part of the key."""
    shapes = {key: (2,) if key.endswith("a") else (3,) for key in mapped}
    diff = compare_keys(shapes, EXPECTED, mapped=mapped)
    weights = WeightMap(
        versions=versions,
        model_class="A on B",
        mapped=mapped,
        expected=EXPECTED,
        aliases={},
        rules=(FIRST, LATE),
        traces={KEY: steps},
        loaded=frozenset() if load_error else frozenset(mapped.values()) & EXPECTED.keys(),
        load_error=load_error,
        gaps={},
    )
    request = WeightRequest(model=Path(), tensors={key: ("F32", shape) for key, shape in shapes.items()})
    return ModelDiff(request=request, diff=diff, weights=weights)


LOST = f"model.{KEY}"
HISTORICAL = map_keys(
    {KEY: LOST, "text.b": "model.text.b"},
    OLD,
    steps=(Step(rule=FIRST, before=KEY, after=LOST), Step(rule=LATE, before=LOST, after=LOST)),
    load_error="ValueError: There is no module or parameter named 'model.tower.vision_model' in M. The available",
)
CONTROL = map_keys({"tower.a": "model.tower.a", "text.b": "model.text.b"}, OLD)
INSTALLED = map_keys({KEY: "model.tower.a", "text.b": "model.text.b"}, NOW)
WHOLE = {"historical": HISTORICAL, "control": CONTROL, "installed": INSTALLED, "engine": STARTED}


def classify(**changes):
    return classify_checkpoint_keys(case="gemma3-legacy-keys", traced_key=KEY, **(WHOLE | changes))


def test_the_whole_evidence_reproduces_and_blames_the_rule_that_came_too_late():
    result = classify()
    assert result.verdict is Verdict.REPRODUCED
    assert [arm.verdict for arm in result.arms] == ["REPRODUCED", "NOT_REPRODUCED", "NOT_REPRODUCED"]
    assert "rule 2 (`regex ^tower\\.vision_model" in result.cause
    assert "would make it tower.a, but rule 1 (`regex ^tower -> model.tower`) renames it first" in result.cause
    assert result.next_command.endswith("-p historical_vllm=installed -p historical_transformers=5.8.1")


@pytest.mark.parametrize("piece", ["historical", "control", "installed"])
def test_without_one_piece_of_evidence_there_is_no_verdict(piece):
    assert classify(**{piece: None}).verdict is Verdict.INCONCLUSIVE


def test_without_a_start_the_installed_pair_stays_open_and_says_so():
    result = classify(engine=None)
    assert result.verdict is Verdict.REPRODUCED
    assert result.arms[2].verdict is Verdict.INCONCLUSIVE
    assert "No engine was started" in result.arms[2].cause


@pytest.mark.parametrize(
    ("engine", "overall", "arm"),
    [
        (EngineStart(error="vLLM did not become ready within 300 s."), "INCONCLUSIVE", "INCONCLUSIVE"),
        (EngineStart(error="There is no module or parameter named 'model.x' in M"), "REPRODUCED", "REPRODUCED"),
        (replace(STARTED, completion_tokens=0), "INCONCLUSIVE", "INCONCLUSIVE"),
        (replace(STARTED, transformers_backend=False), "INCONCLUSIVE", "INCONCLUSIVE"),
    ],
)
def test_a_start_that_goes_wrong_changes_the_verdict(engine, overall, arm):
    result = classify(engine=engine)
    assert (result.verdict, result.arms[2].verdict) == (overall, arm)


def test_a_trace_that_does_not_lead_to_vllms_own_name_leaves_no_verdict():
    broken = replace(HISTORICAL, weights=replace(HISTORICAL.weights, gaps={KEY: "it breaks off"}))
    result = classify(historical=broken)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.findings["historical"]["trace"] == []
    with pytest.raises(EngineError, match="it breaks off"):
        explain_key(broken, KEY)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"load_error": None}, "vLLM's loader takes the checkpoint"),
        (
            {"load_error": "ValueError: There is no module or parameter named 'model.other' in M"},
            "stumbles over model.other",
        ),
    ],
)
def test_a_diff_and_a_loader_that_contradict_each_other_leave_no_verdict(weights, words):
    result = classify(historical=replace(HISTORICAL, weights=replace(HISTORICAL.weights, **weights)))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert words in result.cause


def test_a_loader_that_fails_where_the_diff_sees_nothing_leaves_no_verdict():
    broken = replace(INSTALLED, weights=replace(INSTALLED.weights, load_error="RuntimeError: out of patience"))
    assert classify(installed=broken).verdict is Verdict.INCONCLUSIVE


def test_where_the_control_fails_too_the_layout_is_not_blamed():
    result = classify(control=HISTORICAL)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the layout is not to blame" in result.cause


def test_a_pair_that_loads_the_checkpoint_does_not_reproduce():
    result = classify(historical=replace(INSTALLED, weights=replace(INSTALLED.weights, versions=OLD)))
    assert result.verdict is Verdict.NOT_REPRODUCED


def test_a_key_more_or_less_moves_the_counts():
    diff = compare_keys({"text.b": (3,), "extra": (1,)}, EXPECTED, mapped={"text.b": "model.text.b", "extra": "extra"})
    assert (list(diff.matched), diff.missing, list(diff.unexpected)) == (["text.b"], ("model.tower.a",), ["extra"])


def test_another_shape_is_mismatched_and_neither_missing_nor_matched():
    diff = compare_keys({"model.tower.a": (9,), "model.text.b": (3,)}, EXPECTED)
    assert [(m.key, m.checkpoint_shape, m.model_shape) for m in diff.mismatched] == [("model.tower.a", (9,), (2,))]
    assert (diff.missing, list(diff.matched)) == ((), ["model.text.b"])


def test_dropped_keys_and_second_names_of_tied_weights_are_ignored():
    diff = compare_keys(
        {"model.tower.a": (2,), "model.text.b": (3,), "lm_head": (3,), "rotary": (1,)},
        EXPECTED,
        mapped={"model.tower.a": "model.tower.a", "model.text.b": "model.text.b", "lm_head": "lm_head", "rotary": None},
        aliases={"lm_head": "model.text.b"},
    )
    assert dict(diff.ignored) == {"lm_head": "lm_head", "rotary": None}
    assert diff.whole


def test_a_rule_that_drops_more_than_it_should_is_set_beside_the_parameter_that_it_robs():
    """As vLLM's backend does with GPT-2: ``attn.bias``, meant for a mask, drops ``c_attn.bias`` as well."""
    drop = Rule(kind=RuleKind.REGEX, pattern="model.a", replacement=None)
    dropped = map_keys({KEY: None, "text.b": "model.text.b"}, OLD, steps=(Step(rule=drop, before=KEY, after=None),))
    assert explain_end(dropped, KEY).endswith("is dropped by rule 1 (`regex model.a -> (dropped)`).")
    robbed = replace(dropped.weights, expected={f"model.{KEY}": (2,)})
    diff = replace(dropped.diff, missing=(f"model.{KEY}",))
    words = explain_end(replace(dropped, weights=robbed, diff=diff), KEY)
    assert f"and the parameter model.{KEY}, of the same shape and ending, gets no tensor" in words


def test_an_end_says_what_the_loader_held_against_the_tensor():
    place = replace(INSTALLED.weights, traces={KEY: ()}, expected={KEY: (9,)})
    mismatched = replace(place, ends={KEY: End(fate=Fate.MISMATCHED, name=KEY, shape=(9,))})
    tied = replace(place, expected={}, aliases={KEY: "other"}, ends={KEY: End(fate=Fate.IGNORED, name=KEY)})
    assert "but its shape is [2], and its place there has [9]" in explain_end(
        replace(INSTALLED, weights=mismatched), KEY
    )
    assert "the second name of other, to which it is tied" in explain_end(replace(INSTALLED, weights=tied), KEY)


def test_a_scope_that_was_not_applied_is_named():
    scoped = Rule(kind=RuleKind.REGEX, pattern=r"^vision_model\.(.+)$", replacement=r"\1")
    steps = (Step(rule=scoped, before=KEY, after=KEY),)
    unscoped = replace(HISTORICAL, weights=replace(HISTORICAL.weights, traces={KEY: steps}))
    assert "would match what follows `tower.`" in explain_end(unscoped, KEY)


def test_ten_thousand_keys_read_as_a_few_lines():
    keys = [f"model.layers.{n}.{part}.weight" for n in range(2500) for part in ("q", "k", "v", "o")]
    assert fold_layers(keys) == [f"model.layers.{{0..2499}}.{part}.weight" for part in ("q", "k", "v", "o")]
    tree = grow_tree(compare_keys(dict.fromkeys(keys, (1,)), {}))
    assert len(tree) <= 6
    assert len(compare_keys(dict.fromkeys(keys, (1,)), {}).fold()) == 1


def test_the_picture_shows_a_tree_for_each_pair():
    figure = plot_keys({"old": HISTORICAL.diff, "new": INSTALLED.diff})
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["old", "new"]
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "1 unexpected" in words
    assert "tower.vision_model.a" in words
