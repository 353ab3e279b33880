"""Checkpoint keys under real versions of vLLM and Transformers, historical ones included; needs the package index."""

import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from triage import Verdict, read_case
from triage.checkpoints import (
    ModelDiff,
    ModelImpl,
    answer_keys,
    classify_checkpoint_keys,
    compare_with_model,
    explain_end,
    explain_key,
    list_sentences,
    read_checkpoint,
    start_engine,
)
from triage.engine.history import INSTALLED, find_versions
from triage.engine.models import find_model, read_revision
from triage.engine.weights import map_weights
from triage.errors import EngineError

pytestmark = pytest.mark.engine

CASE = read_case("gemma3-legacy-keys")
KEY = CASE.parameters["traced_key"]
OLD = (CASE.parameters["historical_vllm"], CASE.parameters["historical_transformers"])
ENGINE_ARGS = ["--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "2"]
TOWER = "model.vision_tower."
LEGACY_TOWER = "model.vision_tower.vision_model."
SYMPTOM = "There is no module or parameter named 'model.vision_tower.vision_model' in TransformersMultiModalForCausalLM"


@cache
def compare(model: str, vllm: str = INSTALLED, transformers: str = INSTALLED) -> ModelDiff:
    """A tiny checkpoint under a pair; every key is traced."""
    folder = find_model(model)
    return compare_with_model(
        folder,
        versions=find_versions(vllm=vllm, transformers=transformers),
        trace=tuple(read_checkpoint(folder)["key"]),
    )


def change(model: str, folder: Path, rename: Callable[[str], str | None]) -> Path:
    """A copy of a checkpoint with other keys; None leaves a tensor out."""
    shutil.copytree(find_model(model), folder)
    tensors = load_file(folder / "model.safetensors")
    renamed = {name: tensor for key, tensor in tensors.items() if (name := rename(key)) is not None}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    return folder


def change_code(source: Path, folder: Path, file: str, edit: Callable[[str], str]) -> Path:
    """A checkout in which one file reads otherwise; the rest is linked. ``source`` holds ``vllm/`` or is it."""
    target = folder if (source / "vllm").is_dir() else folder / "vllm"
    shutil.copytree(source, target, copy_function=os.symlink, ignore=shutil.ignore_patterns("*.pyc", "*.so"))
    path = folder / "vllm" / file
    before = path.read_text(encoding="utf-8")
    after = edit(before)
    assert after != before, f"the edit no longer applies to {file}"
    path.unlink()
    path.write_text(after, encoding="utf-8")
    return folder


def test_the_two_layouts_hold_the_same_tensors_under_other_names():
    new, legacy = (read_checkpoint(find_model(CASE.parameters[name])) for name in ("new_checkpoint", "checkpoint"))
    assert set(legacy["key"].str.replace("vision_tower.vision_model.", "vision_tower.")) == set(new["key"])
    assert sorted(legacy["shape"]) == sorted(new["shape"])
    assert read_revision(find_model("tiny:gemma3-new")) != read_revision(find_model("tiny:gemma3-legacy"))


def test_the_installed_pair_strips_the_level_that_the_historical_one_keeps():
    now, old = compare("tiny:gemma3-legacy"), compare("tiny:gemma3-legacy", *OLD)
    assert now.weights.mapped[KEY] == f"{TOWER}embeddings.patch_embedding.weight"
    assert old.weights.mapped[KEY] == f"{LEGACY_TOWER}embeddings.patch_embedding.weight"
    assert now.diff.whole
    assert SYMPTOM in old.weights.load_error
    assert set(old.diff.unexpected) == {key for key in old.weights.mapped if "vision_model" in key}


@pytest.mark.parametrize("pair", [OLD, (INSTALLED, INSTALLED)], ids=["historical", "installed"])
@pytest.mark.parametrize("model", ["tiny:gemma3-legacy", "tiny:gemma3-new"])
def test_the_trace_of_every_key_leads_to_vllms_own_name(model, pair):
    compared = compare(model, *pair)
    for key, mapped in compared.weights.mapped.items():
        rows = explain_key(compared, key)
        assert [key, *rows["after"]][:-1] == rows["before"].tolist()
        assert rows["after"].iloc[-1] == mapped
        assert len(rows) == len(compared.weights.rules)


def test_the_historical_trace_names_the_rule_that_comes_too_late():
    words = explain_end(compare("tiny:gemma3-legacy", *OLD), KEY)
    assert re.search(r"rule 3 \(`regex \S*\^vision_tower\)? -> model\.vision_tower`\) renames it first", words)
    # Even in time it would do harm: Transformers wraps its pattern in a group, so vLLM's \\1 is the whole name.
    assert "would make it vision_tower.vision_tower.vision_model." in words


def test_the_installed_trace_shows_the_scoped_renaming_at_work():
    changed = explain_key(compare("tiny:gemma3-legacy"), KEY).query("changed")
    assert changed["rule"].iloc[0] == r"^vision_model\.(.+)$ -> \1 within vision_tower"
    assert changed["kind"].tolist() == ["renaming", "regex"]


def test_another_order_of_the_rules_is_seen_in_the_trace_and_in_the_cause(tmp_path):
    """The historical mapper with its renamings the other way round: the late rule now comes in time, and does harm."""
    original = find_versions(vllm=OLD[0], transformers=OLD[1])
    checkout = change_code(
        original.folders[0],
        tmp_path / "reordered",
        "model_executor/models/transformers/base.py",
        lambda text: text.replace(
            "in get_model_conversion_mapping(self.model):", "in reversed(get_model_conversion_mapping(self.model)):"
        ),
    )
    pair = compare("tiny:gemma3-legacy", str(checkout), OLD[1])
    usual = compare("tiny:gemma3-legacy", *OLD)
    renamings = len(usual.weights.rules) - 3  # the last three are of vLLM's own making
    assert pair.weights.rules[:renamings] == usual.weights.rules[:renamings][::-1]
    end = f"{TOWER}vision_tower.vision_model.embeddings.patch_embedding.weight"
    assert explain_key(pair, KEY)["after"].iloc[-1] == end
    assert "named 'model.vision_tower.vision_tower'" in pair.weights.load_error
    assert end in classify(historical=pair).cause
    assert end not in classify().cause


def test_an_installed_mapper_that_applies_regexes_before_renamings_loses_keys(tmp_path):
    """A wrong mapper order in the product's engine is reported, not smoothed over."""

    def swap(text: str) -> str:
        loop = (
            "        for renaming in self.orig_to_new_renaming:\n            key, _ = renaming.rename_source_key(key)\n"
        )
        last = "        return key, shard_id\n"
        return text.replace(loop, "", 1).replace(last, loop + last, 1)

    installed = Path(importlib.util.find_spec("vllm").origin).parent
    checkout = change_code(installed, tmp_path / "swapped", "model_executor/models/utils.py", swap)
    pair = compare("tiny:gemma3-legacy", str(checkout))
    kinds = [rule.kind for rule in pair.weights.rules]
    assert kinds == sorted(kinds, key=["regex", "renaming"].index)
    assert pair.weights.gaps == {}
    assert set(pair.diff.unexpected) >= {key for key in pair.weights.mapped if "language_model.model" in key}
    assert pair.weights.load_error is not None
    assert classify(installed=pair).arms[2].verdict is Verdict.INCONCLUSIVE  # the engine, unswapped, loads it


def test_a_mapper_that_cannot_be_watched_gives_no_trace_and_no_verdict(tmp_path):
    """Another name for the local variable is enough: then the trace is withheld, and vLLM's own names still stand."""
    original = find_versions(vllm=OLD[0], transformers=OLD[1])

    def rename(text: str) -> str:
        head, signature, rest = text.partition("    def _map_name(self, key: str) -> str | None:\n")
        body, following, tail = rest.partition("    def apply(")
        return head + signature + "        name = key\n" + re.sub(r"\bkey\b", "name", body) + following + tail

    checkout = change_code(original.folders[0], tmp_path / "renamed", "model_executor/models/utils.py", rename)
    pair = compare("tiny:gemma3-legacy", str(checkout), OLD[1])
    assert pair.weights.mapped == compare("tiny:gemma3-legacy", *OLD).weights.mapped
    assert pair.weights.gaps.keys() == pair.weights.mapped.keys()
    with pytest.raises(EngineError, match="does not lead to vLLM's own name"):
        explain_key(pair, KEY)
    assert classify(historical=pair).verdict is Verdict.INCONCLUSIVE


def classify(**changes):
    evidence = {
        "historical": compare("tiny:gemma3-legacy", *OLD),
        "control": compare("tiny:gemma3-new", *OLD),
        "installed": compare("tiny:gemma3-legacy"),
        "engine": STARTS["legacy"] if "legacy" in STARTS else start("legacy"),
    }
    return classify_checkpoint_keys(case=CASE.id, traced_key=KEY, **(evidence | changes))


STARTS = {}


def start(name: str, folder: Path | None = None):
    """A real engine start, once for each checkpoint; on the published layout as ``triage keys --confirm`` does it."""
    if name not in STARTS:
        STARTS[name] = start_engine(folder, args=ENGINE_ARGS) if folder else confirm().engine
    return STARTS[name]


@cache
def confirm():
    return answer_keys("tiny:gemma3-legacy", model_impl=ModelImpl.TRANSFORMERS, confirm=True)


def test_a_real_start_confirms_what_the_keys_say():
    answer = confirm()
    assert answer.diff.whole
    assert answer.to_json()["confirmed"]["answered"] is True
    assert answer.engine.transformers_backend
    assert "A real engine loaded it and answered." in list(list_sentences(answer))


def test_the_case_is_reproduced_by_the_historical_pair_and_not_by_the_installed_one():
    result = classify()
    assert result.verdict is Verdict.REPRODUCED
    assert [arm.verdict for arm in result.arms] == ["REPRODUCED", "NOT_REPRODUCED", "NOT_REPRODUCED"]
    assert "A real engine loaded it and answered a request" in result.arms[2].cause
    assert SYMPTOM in result.findings["historical"]["load_error"]


def test_a_tensor_that_is_left_out_is_missed_under_both_pairs(tmp_path):
    folder = change("tiny:gemma3-legacy", tmp_path / "short", lambda key: None if key == KEY else key)
    now = compare_with_model(folder, versions=find_versions())
    old = compare_with_model(folder, versions=find_versions(vllm=OLD[0], transformers=OLD[1]))
    assert now.diff.missing == (f"{TOWER}embeddings.patch_embedding.weight",)
    usual = compare("tiny:gemma3-legacy", *OLD).diff
    assert len(old.diff.unexpected) == len(usual.unexpected) - 1
    assert len(old.diff.missing) == len(usual.missing)


def test_a_key_that_no_rule_knows_stops_the_installed_engine_too(tmp_path):
    wrong = KEY.replace("patch_embedding", "patches")
    folder = change("tiny:gemma3-legacy", tmp_path / "wrong", lambda key: wrong if key == KEY else key)
    now = compare_with_model(folder, versions=find_versions(), trace=[wrong])
    assert list(now.diff.unexpected) == [wrong]
    assert "which no parameter is called" in explain_end(now, wrong)
    engine = start("wrong", folder)
    assert engine.refused_keys, engine.error
    assert classify(installed=now, engine=engine).arms[2].verdict is Verdict.REPRODUCED


def test_a_pair_that_does_not_fit_together_is_one_sentence(tmp_path):
    folder = find_model("tiny:gemma3-new")
    broken = tmp_path / "broken" / "vllm"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('half an installation')\n")
    with pytest.raises(EngineError, match="half an installation") as caught:
        map_weights(folder, {}, versions=find_versions(vllm=str(broken.parent)))
    assert "\n" not in str(caught.value)


def test_a_pair_that_takes_too_long_is_ended(tmp_path):
    slow = tmp_path / "slow" / "vllm"
    slow.mkdir(parents=True)
    (slow / "__init__.py").write_text("import time; time.sleep(600)\n")
    with pytest.raises(EngineError, match="did not end within 1 s"):
        map_weights(find_model("tiny:gemma3-new"), {}, versions=find_versions(vllm=str(slow.parent)), timeout_s=1)


def test_a_version_hidden_by_another_install_is_noticed(tmp_path):
    """The answer of the wrong code would be worse than none."""
    pair = find_versions(vllm=OLD[0], transformers=OLD[1])
    elsewhere = tmp_path / "vllm"
    elsewhere.mkdir()
    with pytest.raises(EngineError, match="vllm was to come from"):
        map_weights(find_model("tiny:gemma3-new"), {}, versions=replace(pair, folders=(tmp_path, pair.folders[1])))
