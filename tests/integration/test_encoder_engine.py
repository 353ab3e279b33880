"""vLLM's own encoder budget and real engine starts, for the tiny Qwen2.5-VL."""

from pathlib import Path

import pytest

from triage.cases import read_case
from triage.encoder import (
    EncoderPlan,
    Setting,
    Startup,
    classify_encoder_warmup,
    compare_inputs,
    compare_plans,
    measure_startup,
    plan_encoder,
    plan_setting,
    plot_phases,
    plot_plans,
    profiling_args,
)
from triage.engine.models import find_model
from triage.engine.startup import Phase
from triage.errors import InputError
from triage.result import Verdict

pytestmark = pytest.mark.engine

LIMITS = {"implicit": {"image": 1}, "explicit": {"image": 1, "video": 0}}


@pytest.fixture(scope="module")
def model() -> Path:
    return find_model("tiny:qwen25vl")


@pytest.fixture(scope="module")
def plans(model: Path) -> dict[str, EncoderPlan]:
    return {
        name: plan_encoder(model, limit_mm_per_prompt=limits, max_model_len=4096) for name, limits in LIMITS.items()
    }


@pytest.fixture(scope="module")
def starts(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Startup]:
    logs = tmp_path_factory.mktemp("logs")
    values = {"implicit": '{"image": 1}', "explicit": '{"image": 1, "video": 0}'}
    return {
        name: measure_startup(
            model,
            name=name,
            args=["--max-model-len", "4096", "--limit-mm-per-prompt", value, *profiling_args()],
            log_path=logs / f"{name}.log",
            send_image=name == "explicit",
        )
        for name, value in values.items()
    }


def test_image_only_limits_leave_video_in_and_profile_it(plans: dict[str, EncoderPlan]) -> None:
    plan = plans["implicit"]
    assert (plan.modality, plan.tokens_per_item, plan.encoder_budget) == ("video", 3840, 3840)
    assert plan.limit_of("video") == 999


def test_an_explicit_zero_makes_it_the_image(plans: dict[str, EncoderPlan]) -> None:
    plan = plans["explicit"]
    assert (plan.modality, plan.tokens_per_item, plan.encoder_budget) == ("image", 1280, 2048)
    assert plan.limit_of("video") == 0


def test_the_batch_of_the_follow_up_case_is_the_one_of_its_log() -> None:
    """vLLM #44952: 64 image items of the maximum feature size, with max_num_seqs=256 on an MI300."""
    case = read_case("gemma3-transformers-warmup")
    common = ("--model-impl", case.parameters["model_impl"], *case.parameters["engine_args"])
    settings = {
        name: Setting(
            name=name, limits=case.parameters[f"{name}_limits"], own=case.parameters[f"{name}_args"], common=common
        )
        for name in ("implicit", "explicit")
    }
    folder = find_model(case.parameters["model"])
    plans = {name: plan_setting(folder, setting) for name, setting in settings.items()}
    assert (plans["implicit"].items, plans["implicit"].modality, plans["implicit"].encoder_budget) == (
        64,
        "image",
        16384,
    )
    assert plans["explicit"].items == 2
    assert {t.name: t.shape for t in plans["implicit"].inputs}["pixel_values"] == (64, 3, 896, 896)


def test_the_real_dummy_tensors_are_those_of_the_chosen_modality(plans: dict[str, EncoderPlan]) -> None:
    inputs = compare_inputs(plans)
    names = {name: set(group["tensor"]) for name, group in inputs.groupby("setting")}
    assert "pixel_values_videos" in names["implicit"]
    assert "pixel_values" in names["explicit"]
    patches = next(t for t in plans["explicit"].inputs if t.name == "pixel_values").shape[0]
    assert patches == 4 * plans["explicit"].tokens_per_item  # the encoder merges 2 x 2 patches into a token


def test_a_shorter_context_makes_a_shorter_video_win_by_less(model: Path) -> None:
    plan = plan_encoder(model, limit_mm_per_prompt={"image": 1}, max_model_len=2600)
    assert plan.modality == "video"
    assert plan.tokens_per_item < 3840


def test_more_images_per_prompt_change_the_candidate_but_not_the_choice(model: Path) -> None:
    plan = plan_encoder(
        model, limit_mm_per_prompt={"image": 3, "video": 0}, max_model_len=4096, max_num_batched_tokens=4096
    )
    assert (plan.modality, plan.items) == ("image", 3)
    assert plan.candidates[0].items_per_prompt == 3


def test_with_the_pixel_limits_of_the_hub_image_and_video_tie_and_the_name_decides() -> None:
    plan = plan_encoder(find_model("tiny:qwen25vl-hub"), limit_mm_per_prompt={"image": 1}, max_model_len=4096)
    image, video = plan.candidates
    assert image.tokens_per_item == video.tokens_per_item
    assert plan.modality == "video"
    assert "by name" in plan.reason


def test_all_limits_zero_profile_nothing(model: Path) -> None:
    plan = plan_encoder(model, limit_mm_per_prompt={"image": 0, "video": 0}, max_model_len=4096)
    assert (plan.modality, plan.items, plan.inputs) == (None, 0, ())


def test_a_text_only_model_is_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="has no multimodal encoder"):
        plan_encoder(find_model("tiny:e5-metaspace"), limit_mm_per_prompt={"image": 1})


def test_an_unknown_modality_is_refused_with_the_known_ones(model: Path) -> None:
    with pytest.raises(InputError, match=r"no modality 'audio'.*image, video"):
        plan_encoder(model, limit_mm_per_prompt={"image": 1, "audio": 1})


def test_engine_arguments_that_vllm_does_not_take_are_named(model: Path) -> None:
    with pytest.raises(InputError, match="no-such-flag"):
        plan_encoder(model, engine_args=["--no-such-flag"])


def test_the_logs_of_two_real_starts_confirm_the_plans(
    plans: dict[str, EncoderPlan], starts: dict[str, Startup]
) -> None:
    result = classify_encoder_warmup(
        case="qwen25vl-video-warmup",
        implicit_plan=plans["implicit"],
        explicit_plan=plans["explicit"],
        implicit_start=starts["implicit"],
        explicit_start=starts["explicit"],
    )
    assert result.verdict is Verdict.MECHANISM, result.cause
    assert Phase.PROFILE in {time.phase for time in starts["implicit"].log.phases}


def test_the_image_only_server_answers_an_image_request(starts: dict[str, Startup]) -> None:
    assert starts["explicit"].image_tokens is not None


def test_a_start_that_exceeds_its_limit_is_a_finding_and_leaves_its_log(model: Path, tmp_path: Path) -> None:
    start = measure_startup(model, name="too short", time_limit_s=3.0, log_path=tmp_path / "server.log")
    assert (start.ready, start.timed_out) == (False, True)
    assert start.error is not None
    assert (tmp_path / "server.log").is_file()


def test_table_and_pictures_show_every_setting(plans: dict[str, EncoderPlan], starts: dict[str, Startup]) -> None:
    assert set(compare_plans(plans)["setting"]) == set(plans)
    labels = [label.get_text() for label in plot_plans(plans).axes[0].get_yticklabels()]
    assert [label.split("\n")[0] for label in labels] == ["implicit"] * 2 + ["explicit"] * 2
    assert len(plot_phases(list(starts.values())).axes[0].get_yticklabels()) == 2
