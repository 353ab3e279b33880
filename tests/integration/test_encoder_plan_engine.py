"""`triage plan` on real vLLM: both implementations, historical versions, and the estimate against a measurement."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from triage.encoder import EncoderPlan, answer_plan, plan_encoder, suggest_limits
from triage.engine.history import find_versions
from triage.engine.models import find_model
from triage.engine.tower import Attention, TowerRun, measure_tower
from triage.errors import InputError, UnsupportedVersionError

pytestmark = pytest.mark.engine

# The estimate leaves out index tensors (18 bytes a patch here) and the last of several sequences.
TOLERANCE = 0.03


def run_plan(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "triage.cli", "plan", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def model() -> Path:
    return find_model("tiny:qwen25vl")


@pytest.fixture(scope="module")
def plan(model: Path) -> EncoderPlan:
    """Limits that name only the image: video is profiled."""
    return plan_encoder(model, limit_mm_per_prompt={"image": 1}, max_model_len=4096)


def check(estimated_bytes: int, run: TowerRun) -> None:
    ratio = estimated_bytes / run.peak_bytes
    assert ratio == pytest.approx(1.0, abs=TOLERANCE), f"{estimated_bytes} estimated, {run.peak_bytes} measured"


@pytest.mark.parametrize(("modality", "attention"), [("video", Attention.FUSED), ("image", Attention.MATRIX)])
def test_the_estimate_holds_against_the_live_tensors_of_the_real_tower(
    plan: EncoderPlan, model: Path, modality: str, attention: Attention
) -> None:
    candidate = next(c for c in plan.candidates if c.modality == modality)
    args = ["--max-model-len", "4096"]
    run = measure_tower(model, modality=modality, limits={"image": 1}, args=args, attention=attention)
    assert candidate.activation is not None
    assert run.inputs == candidate.inputs
    fused = attention is Attention.FUSED
    check(candidate.activation.size_bytes if fused else candidate.activation.score_bytes, run)
    assert run.weight_bytes == plan.weight_bytes


def test_the_estimate_holds_in_float32_too(model: Path) -> None:
    args = ["--max-model-len", "4096", "--dtype", "float32"]
    estimate = plan_encoder(model, limit_mm_per_prompt={"video": 0}, engine_args=args).activation
    assert estimate is not None
    check(estimate.size_bytes, measure_tower(model, limits={"video": 0}, args=args))


@pytest.mark.parametrize("attention", list(Attention))
def test_the_estimate_holds_for_a_siglip_tower_without_rotations_and_gates(attention: Attention) -> None:
    model = find_model("tiny:gemma3-new")
    args = ["--max-model-len", "512"]
    estimate = plan_encoder(model, engine_args=args).activation
    assert estimate is not None
    fused = attention is Attention.FUSED
    check(estimate.size_bytes if fused else estimate.score_bytes, measure_tower(model, args=args, attention=attention))


def test_the_transformers_implementation_is_planned_as_well(model: Path, plan: EncoderPlan) -> None:
    other = plan_encoder(
        model, limit_mm_per_prompt={"image": 1, "video": 0}, max_model_len=4096, model_impl="transformers"
    )
    assert other.modality == "image"
    assert {tensor.name for tensor in other.inputs} >= {"pixel_values"}
    assert other.activation is not None
    assert other.tokens_per_item > 0


@pytest.mark.parametrize(("vllm", "transformers"), [("0.21.0", "5.8.1"), ("0.24.0", "5.12.0")])
def test_a_historical_vllm_answers_the_same_question(
    model: Path, plan: EncoderPlan, vllm: str, transformers: str
) -> None:
    versions = find_versions(vllm=vllm, transformers=transformers)
    then = plan_encoder(model, limit_mm_per_prompt={"image": 1}, max_model_len=4096, versions=versions)
    assert then.versions == f"vLLM {vllm} with Transformers {transformers}"
    assert (then.modality, then.tokens_per_item, then.items) == (plan.modality, plan.tokens_per_item, plan.items)
    # 0.28 began to hand over raw pixels; before it they were cast on the host
    pixels = next(tensor for tensor in then.inputs if tensor.name.startswith("pixel_values"))
    assert pixels.dtype == then.dtype


def test_a_vllm_of_an_unknown_layout_is_one_sentence(model: Path, tmp_path: Path) -> None:
    (tmp_path / "fork" / "vllm").mkdir(parents=True)
    (tmp_path / "fork" / "vllm" / "__init__.py").touch()
    with pytest.raises(UnsupportedVersionError, match="in none of") as caught:
        plan_encoder(model, versions=find_versions(vllm=str(tmp_path / "fork")))
    assert "\n" not in str(caught.value)


def test_a_suggestion_sets_every_other_modality_to_zero(model: Path) -> None:
    assert suggest_limits(model, {"image": 1}) == {"image": 1, "video": 0}


def test_the_command_prints_the_plan_the_difference_and_the_flag_as_one_object() -> None:
    limits = '{"image": 1}'
    done = run_plan(
        "tiny:qwen25vl", "--max-model-len", "4096", "--limit-mm-per-prompt", limits, "--suggest", "image=1", "--json"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["modality"], answer["items"], answer["encoder_budget"]) == ("video", 1, 3840)
    assert {"modality", "limit", "tokens_per_item", "items_per_prompt", "items_per_batch"} <= set(
        answer["candidates"][0]
    )
    assert answer["suggestion"]["flag"] == """--limit-mm-per-prompt '{"image": 1, "video": 0}'"""
    assert answer["against"]["modality"] == "image"
    assert answer["difference"]["changed"]["modality"] == ["video", "image"]


def test_all_limits_zero_are_an_answer_and_no_error() -> None:
    done = run_plan("tiny:qwen25vl", "--limit-mm-per-prompt", '{"image": 0, "video": 0}', "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["modality"], answer["items"], answer["activation_bytes"]) == (None, 0, 0)


def test_a_model_without_an_encoder_ends_with_exit_2_and_one_sentence() -> None:
    done = run_plan("tiny:e5-metaspace")
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no multimodal encoder" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unknown_modality_ends_with_exit_2_and_names_the_known_ones() -> None:
    done = run_plan("tiny:qwen25vl", "--limit-mm-per-prompt", '{"audio": 1}')
    assert done.returncode == 2
    assert "image, video" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("broken", ["preprocessor_config.json", "tokenizer.json", "config.json"])
def test_a_broken_model_folder_is_the_callers_input(model: Path, tmp_path: Path, broken: str) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    held = [path for path in (folder / broken, folder / "processor_config.json") if path.is_file()]
    for path in held:
        path.write_text('{"model_type": "qwen2_5_vl"' if broken != "config.json" else "{}", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        answer_plan(str(folder))
    assert "\n" not in str(caught.value)
