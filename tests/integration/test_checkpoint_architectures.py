"""What vLLM's own loaders make of the keys of many architectures, whole and with one planted defect each.

One process answers for all: importing vLLM takes longer than building ten tiny models.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from triage.checkpoints import Place, explain_end, explain_key, infer_model_rules, parse_rule, try_on_model
from triage.checkpoints._model import judge_ends, request_weights
from triage.checkpoints._suggest import propose_model_patch
from triage.engine.environment import engine_environment
from triage.engine.history import find_versions
from triage.engine.weights import ModelImpl, RuleKind, WeightMap, map_many_weights
from triage.errors import EngineError

pytestmark = pytest.mark.engine

BOTH = (ModelImpl.VLLM, ModelImpl.TRANSFORMERS)
WHOLE = ("qwen2", "qwen2_tied", "mixtral", "qwen3_moe", "llava", "idefics3", "mistral3", "internvl", "qwen25vl")


@dataclass(frozen=True)
class Defect:
    """One key of an architecture that is renamed, left out (``new`` None), or cut to its first rows (``rows``)."""

    model: str
    key: str
    new: str | None = None
    rows: int | None = None


DEFECTS = {
    "a part of a fused parameter left out": Defect("qwen2", "model.layers.1.self_attn.v_proj.weight"),
    "a part of a fused parameter cut": Defect("qwen2", "model.layers.1.mlp.up_proj.weight", rows=90),
    "an expert left out": Defect("mixtral", "model.layers.0.block_sparse_moe.experts.3.w2.weight"),
    "an expert renamed": Defect(
        "qwen3_moe", "model.layers.1.mlp.experts.2.up_proj.weight", "model.layers.1.mlp.experts.2.upper.weight"
    ),
    "the connector cut": Defect("idefics3", "model.connector.modality_projection.proj.weight", rows=60),
    "a layer of the tower renamed": Defect(
        "mistral3",
        "vision_tower.transformer.layers.1.ffn_norm.weight",
        "vision_tower.transformer.layers.1.ffn_norms.weight",
    ),
    "a table cut": Defect("internvl", "language_model.model.embed_tokens.weight", rows=100),
    "a merger renamed": Defect("qwen25vl", "visual.merger.ln_q.weight", "visual.merger.ln_x.weight"),
    "a projector left out": Defect("llava", "multi_modal_projector.linear_2.bias"),
}


# Whole modules under other names: every layer lacks the same parts, so no layer tells what they are called.
RENAMES = {
    "a part of every fused parameter": ("qwen2", {"q_proj": "query"}, 4),
    "a module of fused parameters": ("qwen2", {"self_attn": "attention"}, 14),
    "every layer of a mixture of experts": ("qwen3_moe", {"model.layers": "blocks"}, 42),
    "the module that holds the experts": ("mixtral", {"block_sparse_moe": "moe"}, 26),
    "parts of experts, which the loader passes over in silence": (
        "qwen3_moe",
        {"gate_proj": "gate_p", "up_proj": "upper"},
        16,
    ),
    "parts that nothing tells apart": ("qwen3_moe", {"gate_proj": "w1", "up_proj": "w3"}, 0),
}


def rename(source: Path, folder: Path, renames: dict[str, str]) -> Path:
    """A copy of a checkpoint with other names."""
    shutil.copytree(source, folder)
    tensors = {}
    for key, tensor in load_file(source / "model.safetensors").items():
        for old, new in renames.items():
            key = key.replace(old, new)  # noqa: PLW2901
        tensors[key] = tensor
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def change(source: Path, folder: Path, defect: Defect) -> Path:
    """A copy of a checkpoint with the defect."""
    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    tensor = tensors.pop(defect.key)
    if defect.rows is not None:
        tensors[defect.key] = tensor[: defect.rows]
    elif defect.new is not None:
        tensors[defect.new] = tensor
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory):
    """``answers[name, model_impl]`` for every whole checkpoint and every defect: a diff, or the error."""
    folder = tmp_path_factory.mktemp("architectures")
    script = Path(__file__).with_name("architectures.py")
    subprocess.run([sys.executable, script, folder], env=engine_environment(), check=True, capture_output=True)
    # As published: `save_pretrained` of Transformers 5.6 and later leaves `vision_model` out, see the test below.
    shutil.copytree(folder / "llava", folder / "llava_new")
    tower = load_file(folder / "llava" / "model.safetensors")
    legacy = {key.replace("vision_tower.", "vision_tower.vision_model."): tensor for key, tensor in tower.items()}
    save_file(legacy, folder / "llava" / "model.safetensors", {"format": "pt"})
    # A rotary table that old checkpoints hold, and a second copy of a tied head.
    tied = load_file(folder / "qwen2_tied" / "model.safetensors")
    tied["lm_head.weight"] = tied["model.embed_tokens.weight"].copy()
    tied["model.layers.0.self_attn.rotary_emb.inv_freq"] = tied["model.norm.weight"][:16].copy()
    save_file(tied, folder / "qwen2_tied" / "model.safetensors", {"format": "pt"})

    places = {name: folder / name for name in (*WHOLE, "llava_new", "bert_classifier")}
    for number, (name, defect) in enumerate(DEFECTS.items()):
        places[name] = change(folder / defect.model, folder / f"defect-{number}", defect)
    renamed = {
        (name, ModelImpl.VLLM): request_weights(
            rename(folder / model, folder / f"renamed-{number}", renames), model_impl=ModelImpl.VLLM
        )
        for number, (name, (model, renames, _)) in enumerate(RENAMES.items())
    }
    jobs = {(name, impl): request_weights(place, model_impl=impl) for name, place in places.items() for impl in BOTH}
    jobs = {asked: replace(request, trace=tuple(request.tensors)) for asked, request in jobs.items()}
    jobs |= renamed
    jobs["qwen2", ModelImpl.AUTO] = request_weights(places["qwen2"], model_impl=ModelImpl.AUTO)
    found = map_many_weights(list(jobs.values()), versions=find_versions(), timeout_s=500)
    return {
        asked: judge_ends(request, answer) if isinstance(answer, WeightMap) else answer
        for (asked, request), answer in zip(jobs.items(), found, strict=True)
    }


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("name", WHOLE)
def test_every_key_of_a_whole_checkpoint_is_accounted_for(answers, name, impl):
    answer = answers[name, impl]
    assert not isinstance(answer, EngineError), answer
    assert answer.diff.whole, answer.diff.fold()
    assert answer.weights.load_error is None
    assert answer.weights.gaps == {}
    assert answer.weights.ends.keys() == answer.weights.mapped.keys()
    # LLaVA takes its features before the tower's last layer, so vLLM does not build that one.
    last = ("vision_tower.vision_model.encoder.layers.1.", "vision_tower.vision_model.post_layernorm.")
    known = {"lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"} if name == "qwen2_tied" else set()
    assert all(key.startswith(last) or key in known for key in answer.diff.ignored), answer.diff.ignored


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_found_at_its_place_and_nowhere_else(answers, name, impl):
    defect, answer = DEFECTS[name], answers[name, impl]
    assert not isinstance(answer, EngineError), answer
    diff = answer.diff
    # vLLM's loader of fused experts passes over a name that it does not know; only what is missing shows it.
    lost = {*diff.unexpected, *(key for key in diff.ignored if "experts" in key)}
    assert lost == ({defect.new} if defect.new else set())
    assert [entry.key for entry in diff.mismatched] == ([defect.key] if defect.rows else [])
    if defect.rows:
        (entry,) = diff.mismatched
        assert entry.checkpoint_shape[0] == defect.rows
        assert entry.model_shape[0] > defect.rows
        assert diff.missing == ()
    else:
        (missing,) = diff.missing
        assert missing.split(".")[-2:] == defect.key.split(".")[-2:]


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("name", ["qwen2", "mixtral", "qwen25vl", "idefics3"])
def test_a_trace_leads_from_the_key_to_the_parameter_that_its_data_fills(answers, name, impl):
    answer = answers[name, impl]
    for key, mapped in answer.weights.mapped.items():
        rows = explain_key(answer, key)
        if len(rows):
            assert [key, *rows["after"]][:-1] == rows["before"].tolist()
            assert rows["after"].iloc[-1] == mapped
        assert mapped in answer.weights.expected
        assert f"ends as the parameter {mapped}" in explain_end(answer, key)


def test_the_fused_name_of_q_is_the_work_of_a_rule_or_of_the_loader(answers):
    rows = explain_key(answers["qwen2", ModelImpl.VLLM], "model.layers.0.self_attn.q_proj.weight").query("changed")
    assert rows["kind"].tolist()[-1] in {RuleKind.STACKED, RuleKind.LOADER}
    assert rows["after"].tolist()[-1] == "model.layers.0.self_attn.qkv_proj.weight"
    expert = "model.layers.0.block_sparse_moe.experts.1.w1.weight"
    assert answers["mixtral", ModelImpl.VLLM].weights.mapped[expert].endswith("w13_weight")


def test_a_fused_parameter_that_is_filled_in_part_is_named_although_vllms_loader_says_nothing(answers):
    answer = answers["a part of a fused parameter left out", ModelImpl.VLLM]
    assert answer.weights.load_error is None
    assert "model.layers.1.self_attn.qkv_proj.weight" in answer.weights.loaded
    assert answer.diff.missing == ("model.layers.1.self_attn.v_proj.weight",)
    assert answer.weights.missing["model.layers.1.self_attn.v_proj.weight"] == (32, 64)
    assert "6144 of 8192 elements" in answer.weights.partial["model.layers.1.self_attn.qkv_proj.weight"]


def test_what_the_loader_leaves_out_on_purpose_is_ignored(answers):
    for impl in BOTH:
        assert "lm_head.weight" in answers["qwen2_tied", impl].diff.ignored
    assert "model.layers.0.self_attn.rotary_emb.inv_freq" in answers["qwen2_tied", ModelImpl.VLLM].diff.ignored


def test_auto_says_whose_implementation_vllm_takes_and_why(answers):
    weights = answers["qwen2", ModelImpl.AUTO].weights
    assert weights.implementation is ModelImpl.VLLM
    assert "registry has an implementation of its own for Qwen2ForCausalLM" in weights.reason


def test_the_layout_of_new_transformers_is_judged_apart_for_each_implementation(answers):
    """The tower that Transformers writes now has another name than the one in vLLM's own class."""
    assert answers["llava_new", ModelImpl.TRANSFORMERS].diff.whole
    native = answers["llava_new", ModelImpl.VLLM]
    assert {key.split(".")[0] for key in native.diff.unexpected} == {"vision_tower"}
    assert len(native.diff.unexpected) == 39
    assert "There is no module or parameter named 'vision_tower.embeddings'" in native.weights.load_error


@pytest.mark.parametrize("name", RENAMES)
def test_a_renamed_module_is_led_back_although_vllm_fuses_what_is_in_it(answers, name):
    _, renames, count = RENAMES[name]
    compared = answers[name, ModelImpl.VLLM]
    inference = infer_model_rules(compared)
    fixes = {key: new for rule in inference.rules for key, new in rule.fixes.items()}
    assert len(fixes) == count
    for key, new in fixes.items():
        for old, planted in renames.items():
            new = new.replace(old, planted)  # noqa: PLW2901
        assert new == key
    assert len(inference.rules) == (len(renames) if count else 0)
    assert bool(inference.ambiguous) is not bool(count)


def test_rules_are_checked_by_vllms_own_loader_behind_its_renames_and_before_it_fuses(answers):
    compared = answers["a part of every fused parameter", ModelImpl.VLLM]
    suggested = [found.rule for found in infer_model_rules(compared).rules]
    harmful = parse_rule("suffix:norm.weight=norm.w")
    after, (good, bad) = try_on_model(compared, [*suggested, harmful])
    assert set(good.fixes) == set(compared.diff.unexpected)
    assert {name.split(".")[-2] for name in good.fixes.values()} == {"qkv_proj"}
    assert good.breaks == ()
    assert set(bad.breaks) == set(after.diff.unexpected) == {key for key in compared.shapes if "norm.weight" in key}
    assert "norm.w" in after.weights.load_error


def test_a_classifier_is_built_with_its_head_by_the_transformers_backend_too(answers):
    for impl in BOTH:
        assert answers["bert_classifier", impl].diff.whole, answers["bert_classifier", impl].diff.fold()


def test_the_proposed_patch_applied_to_vllm_makes_the_checkpoint_load(answers, tmp_path):
    compared = answers["llava_new", ModelImpl.VLLM]
    rules = [found.rule for found in infer_model_rules(compared).rules]
    patch = propose_model_patch(compared, rules, impact=None)
    assert (patch.place, patch.file) == (Place.MODEL_CLASS, "vllm/model_executor/models/llava.py")
    installed = Path(importlib.util.find_spec("vllm").origin).parent
    shutil.copytree(
        installed, tmp_path / "fix" / "vllm", copy_function=os.symlink, ignore=shutil.ignore_patterns("*.pyc", "*.so")
    )
    path = tmp_path / "fix" / patch.file
    source = path.read_text()
    path.unlink()
    path.write_text(source)
    subprocess.run(["git", "init", "-q", tmp_path / "fix"], check=True)
    subprocess.run(["git", "-C", tmp_path / "fix", "apply", "-"], input=patch.text, text=True, check=True)
    checkout = find_versions(vllm=str(tmp_path / "fix"))
    # The layout that was refused, and the one that loaded before.
    requests = [replace(answers[name, ModelImpl.VLLM].request, trace=()) for name in ("llava_new", "llava")]
    for request, answer in zip(requests, map_many_weights(requests, versions=checkout), strict=True):
        assert not isinstance(answer, EngineError), answer
        assert judge_ends(request, answer).diff.whole, judge_ends(request, answer).diff.fold()
