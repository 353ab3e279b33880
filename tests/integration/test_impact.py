"""Rules in vLLM's own mapper of real architectures, under today's and historical versions; needs the package index."""

import json

import pytest

from triage.checkpoints import (
    Effect,
    Place,
    compare_keys,
    compare_positions,
    describe_dispute,
    parse_rule,
    propose_patch,
    suggest_rules,
    tabulate_impact,
    try_rules,
)
from triage.engine import architectures as engine
from triage.engine.architectures import Placement, Position, find_native_file, try_positions
from triage.engine.history import VersionPair, find_versions
from triage.engine.models import find_model
from triage.errors import InputError

pytestmark = pytest.mark.engine

TRIED = ["gemma3", "llava", "paligemma", "cohere2_vision", "t5gemma2", "qwen2_vl", "idefics3", "pix2struct"]
NARROW, WIDE, SCOPED, UNCONDITIONAL = (position.name for position in describe_dispute())


def settle(vllm: str, transformers: str):
    """The dispute under a pair of versions: the trial, and its table by position."""
    trial = try_positions(
        describe_dispute(), versions=find_versions(vllm=vllm, transformers=transformers), architectures=TRIED
    )
    return trial, compare_positions([trial]).set_index("position")


def test_the_regex_of_the_pull_request_fixes_what_the_old_mapper_cannot_reach():
    trial, table = settle("0.21.0", "5.8.1")
    effects = tabulate_impact(trial, NARROW).set_index("architecture")["verdict"]
    fixed = {"gemma3", "llava", "paligemma", "cohere2_vision"}
    assert set(effects[effects == Effect.FIXED.value].index) == fixed
    assert effects["qwen2_vl"] == effects["idefics3"] == Effect.UNTOUCHED.value
    assert table.loc[NARROW, "broken"] == table.loc[WIDE, "broken"] == 0
    assert table.loc[SCOPED, "fixed"] == 0, "5.8.1 has the renaming after one that hides it"
    assert table.loc[NARROW, "example"].endswith("model.vision_tower.vision_model.… -> model.vision_tower.…")


def test_scoped_renaming_fixes_more_than_the_regex_once_transformers_has_scopes():
    trial, table = settle("0.23.0", "5.12.0")
    assert table.loc[SCOPED, "fixed"] > table.loc[NARROW, "fixed"] > 0
    assert table.loc[SCOPED, "broken"] == 0
    assert {row.architecture for row in tabulate_impact(trial, SCOPED).itertuples() if row.fixed} >= {"t5gemma2"}


def test_without_its_condition_the_regex_breaks_models_whose_tower_has_the_level():
    trial, table = settle("0.21.0", "5.5.4")
    assert table.loc[NARROW, "touched"] == 0
    assert table.loc[UNCONDITIONAL, "broken"] >= 4
    row = tabulate_impact(trial, UNCONDITIONAL).set_index("architecture").loc["gemma3"]
    assert row["verdict"] == Effect.BROKEN.value
    assert "model.vision_tower.vision_model." in row["example"]


def test_today_no_position_changes_anything_and_no_layout_is_refused():
    versions = find_versions()
    trial = try_positions(describe_dispute(), versions=versions, architectures=["gemma3", "llava"])
    table = compare_positions([trial])
    assert set(table["touched"]) == set(table["still refused"]) == {0}
    assert {outcome.layout for outcome in trial.outcomes} == {"saved", "legacy", "modules"}
    assert all(outcome.loads == outcome.keys for outcome in trial.outcomes)


def test_a_rule_that_takes_keys_from_their_parameters_is_reported_by_architecture():
    frame = try_rules([parse_rule(r"embed_tokens=embedding")], architectures=["gemma3", "qwen2_vl", "pix2struct"])
    rows = frame.set_index("architecture")
    assert set(rows.loc[["gemma3", "qwen2_vl"], "verdict"]) == {Effect.BROKEN.value}
    assert rows.loc["pix2struct", "verdict"] == Effect.NOT_BUILT.value
    assert "AutoModel" in rows.loc["pix2struct", "example"]
    assert rows.loc["gemma3", "broken"] > 0 == rows.loc["gemma3", "fixed"]


def test_a_rule_may_stand_before_or_after_the_mapper():
    rules = (parse_rule(r"^model\.vision_tower\.=model.tower."),)
    places = (Placement.FIRST, Placement.LAST)
    positions = [Position(name=place.value, rules=rules, placement=place) for place in places]
    trial = try_positions(positions, versions=find_versions(), architectures=["gemma3"])
    first, last = (int(tabulate_impact(trial, place.value)["broken"].sum()) for place in places)
    assert last > first > 0


def test_an_architecture_that_is_not_there_is_named():
    with pytest.raises(InputError, match="no vision-language model gemma99"):
        try_rules([parse_rule("a=b")], architectures=["gemma99"])


def test_a_rule_that_does_not_compile_starts_no_model():
    with pytest.raises(InputError, match="no regular expression"):
        try_rules([parse_rule("(=b")], architectures=["gemma3"])


def test_a_death_costs_the_architecture_that_it_came_with(monkeypatch, tmp_path):
    folder = tmp_path / "probes"
    folder.mkdir()
    source = engine._PROBE.read_text()
    deadly = source.replace(
        "    served, whole = ", '    if name == "llava":\n        os._exit(9)\n    served, whole = '
    )
    assert deadly != source
    (folder / "try_rules.py").write_text(deadly)
    (folder / "vision_models.py").write_text((engine._PROBES / "vision_models.py").read_text())
    monkeypatch.setattr(engine, "_PROBE", folder / "try_rules.py")
    position = Position(name="none")
    trial = try_positions([position], versions=find_versions(), architectures=["gemma3", "llava", "qwen2_vl"])
    assert {outcome.architecture for outcome in trial.outcomes} == {"gemma3", "qwen2_vl"}
    assert "exit code 9" in trial.unbuilt["llava"]


def test_an_answer_is_kept_and_asked_for_once(monkeypatch):
    position = Position(name="kept", rules=(parse_rule("^never=seen"),))
    first = try_positions([position], versions=find_versions(), architectures=["qwen2_vl"])
    monkeypatch.setattr(engine, "ask_process", lambda *_, **__: pytest.fail("asked again"))
    assert try_positions([position], versions=find_versions(), architectures=["qwen2_vl"]) == first


def test_a_rule_that_was_inferred_from_the_legacy_layout_fixes_it_in_the_mapper():
    folder = find_model("tiny:gemma3-legacy")
    header = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    keys = {k: tuple(v["shape"]) for k, v in json.loads(header[8 : 8 + length]).items() if k != "__metadata__"}
    expected = {key.replace("vision_tower.vision_model.", "vision_tower."): shape for key, shape in keys.items()}
    diff = compare_keys(keys, expected)
    rules = suggest_rules(
        {key: keys[key] for key in diff.unexpected}, {name: expected[name] for name in diff.missing}, known=diff.matched
    )
    old = find_versions(vllm="0.21.0", transformers="5.8.1")
    frame = try_rules(
        [found.rule for found in rules], architectures=["gemma3"], versions=old, placement=Placement.FIRST
    )
    assert len(rules) == 1
    assert frame["fixed"].sum() == 48
    assert frame["broken"].sum() == 0


def test_the_proposal_follows_the_evidence():
    old = find_versions(vllm="0.21.0", transformers="5.8.1")
    rule = parse_rule(r"^model\.vision_tower\.vision_model\.=model.vision_tower.")
    options = {"architecture": "gemma3", "model_class": "Gemma3ForConditionalGeneration"}
    frame = try_rules([rule], architectures=["gemma3", "llava", "qwen2_vl"], versions=old)
    shared = propose_patch([rule], impact=frame, **options)
    alone = propose_patch([rule], impact=frame[frame["architecture"] != "llava"], **options)
    harmful = propose_patch([rule], impact=frame.assign(verdict=Effect.BROKEN.value), **options)
    native = propose_patch([rule], native=True, versions=old, **options)
    assert (shared.place, "llava" in shared.reason) == (Place.BACKEND, True)
    assert (alone.place, harmful.place) == (Place.TRANSFORMERS, Place.TRANSFORMERS)
    assert "break llava" in harmful.reason
    assert (native.place, native.file) == (Place.MODEL_CLASS, "vllm/model_executor/models/gemma3_mm.py")
    assert '\n+            "model.vision_tower.vision_model.": "model.vision_tower.",\n' in native.text
    assert shared.text.startswith("--- a/vllm/model_executor/models/transformers/base.py")
    assert "rename_source_key" in propose_patch([], scoped_renaming_fixes=True, **options).text
    with pytest.raises(InputError, match="no rule to propose"):
        propose_patch([], **options)


def test_a_class_that_vllm_does_not_have_has_no_file(tmp_path):
    assert find_native_file("NoSuchModel", find_versions()) is None
    away = VersionPair(vllm="0", transformers="0", folders=(tmp_path,))
    (tmp_path / "vllm").mkdir()
    assert find_native_file("Gemma3ForConditionalGeneration", away) is None
