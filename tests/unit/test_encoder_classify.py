"""The encoder family's verdict follows its evidence, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from triage.encoder import (
    Candidate,
    EncoderPlan,
    Startup,
    classify_encoder_warmup,
    explain_startups,
    read_startup_phases,
)
from triage.engine.startup import StartupLog
from triage.result import Result, Verdict

DATA = Path(__file__).parents[1] / "data"

# What vLLM 0.32 answers for tiny:qwen25vl at 4096 tokens; tests/integration/test_encoder_engine.py asks it.
IMPLICIT_PLAN = EncoderPlan(
    model="qwen25vl",
    revision="sha256:0",
    limits_given={"image": 1},
    modality="video",
    items=1,
    tokens_per_item=3840,
    encoder_budget=3840,
    candidates=(
        Candidate(modality="image", limit=1, tokens_per_item=1280, items_per_prompt=1, items_per_batch=3),
        Candidate(modality="video", limit=999, tokens_per_item=3840, items_per_prompt=1, items_per_batch=1),
    ),
    inputs=(),
    profiling_skipped=False,
    dtype="bfloat16",
    max_model_len=4096,
    max_num_seqs=128,
    max_num_batched_tokens=2048,
)
EXPLICIT_PLAN = replace(
    IMPLICIT_PLAN,
    limits_given={"image": 1, "video": 0},
    modality="image",
    tokens_per_item=1280,
    encoder_budget=2048,
    candidates=(
        Candidate(modality="image", limit=1, tokens_per_item=1280, items_per_prompt=1, items_per_batch=1),
        Candidate(modality="video", limit=0, tokens_per_item=0, items_per_prompt=0, items_per_batch=0),
    ),
)


def make_start(setting: str) -> Startup:
    text = (DATA / f"startup-vllm-0.32-qwen25vl-{setting}.log").read_text(encoding="utf-8")
    log = read_startup_phases(text)
    return Startup(name=setting, args=(), log=log, ready=True, timed_out=False, elapsed_s=60.0, time_limit_s=300.0)


def hang(start: Startup) -> Startup:
    """The same start, ended at its limit while it profiled."""
    text = (DATA / f"startup-vllm-0.32-qwen25vl-{start.name}.log").read_text(encoding="utf-8")
    log = read_startup_phases(text[: text.index("Warming up done")])
    return replace(start, log=log, ready=False, timed_out=True, elapsed_s=300.0, error="not ready within 300 s")


def classify(**changes: object) -> Result:
    evidence: dict[str, object] = {
        "implicit_plan": IMPLICIT_PLAN,
        "explicit_plan": EXPLICIT_PLAN,
        "implicit_start": make_start("implicit"),
        "explicit_start": make_start("explicit"),
    }
    return classify_encoder_warmup(case="qwen25vl-video-warmup", **(evidence | changes))  # type: ignore[arg-type]


def test_plans_and_logs_that_agree_show_the_mechanism() -> None:
    result = classify()
    assert result.verdict is Verdict.MECHANISM
    assert "video" in result.cause
    assert result.needs_gpu is not None
    assert [arm.verdict for arm in result.arms] == [Verdict.MECHANISM, Verdict.NOT_REPRODUCED]


@pytest.mark.parametrize("missing", ["implicit_plan", "explicit_plan", "implicit_start", "explicit_start"])
def test_without_one_of_the_four_observations_the_verdict_is_inconclusive(missing: str) -> None:
    result = classify(**{missing: None})
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.needs_gpu is None


@pytest.mark.parametrize("setting", ["implicit", "explicit"])
def test_a_log_that_does_not_name_the_profiled_modality_decides_nothing(setting: str) -> None:
    start = make_start(setting)
    silent = replace(start, log=StartupLog(phases=start.log.phases, profiled=None))
    assert classify(**{f"{setting}_start": silent}).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("change", [{"items": 2}, {"encoder_budget": 4096}, {"modality": "image"}])
def test_a_plan_that_its_log_contradicts_decides_nothing(change: dict[str, object]) -> None:
    result = classify(implicit_plan=replace(IMPLICIT_PLAN, **change))  # type: ignore[arg-type]
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "disagree" in result.cause


def test_swapped_logs_decide_nothing() -> None:
    result = classify(implicit_start=make_start("explicit"), explicit_start=make_start("implicit"))
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_start_that_hangs_in_the_profile_reproduces_when_the_other_comes_up() -> None:
    result = classify(implicit_start=hang(make_start("implicit")))
    assert result.verdict is Verdict.REPRODUCED
    assert result.needs_gpu is None


def test_when_both_starts_hang_the_limit_is_not_blamed() -> None:
    result = classify(implicit_start=hang(make_start("implicit")), explicit_start=hang(make_start("explicit")))
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_start_that_died_in_the_profile_is_not_called_a_hang() -> None:
    died = replace(hang(make_start("implicit")), timed_out=False, error="vLLM ended with exit code 1")
    assert classify(implicit_start=died).verdict is Verdict.INCONCLUSIVE


def test_limits_that_already_profile_what_is_sent_do_not_reproduce() -> None:
    result = classify(implicit_plan=EXPLICIT_PLAN, implicit_start=make_start("explicit"))
    assert result.verdict is Verdict.NOT_REPRODUCED


def test_a_test_that_sends_the_profiled_modality_is_no_leak() -> None:
    sends_video = replace(IMPLICIT_PLAN, limits_given={"image": 1, "video": 1})
    assert classify(implicit_plan=sends_video).verdict is Verdict.NOT_REPRODUCED


def test_an_explicit_setting_that_leaves_the_culprit_in_proves_nothing() -> None:
    result = classify(explicit_plan=IMPLICIT_PLAN, explicit_start=make_start("implicit"))
    assert result.verdict is Verdict.INCONCLUSIVE


def test_plans_that_differ_in_more_than_their_limits_prove_nothing() -> None:
    assert classify(explicit_plan=replace(EXPLICIT_PLAN, max_model_len=8192)).verdict is Verdict.INCONCLUSIVE


def test_the_result_carries_the_plans_and_the_snapshot_and_survives_json() -> None:
    result = classify()
    assert result.findings["plans"]["implicit"]["tokens_per_item"] == 3840
    assert result.snapshots == {"qwen25vl": "sha256:0"}
    assert Result.from_json(result.to_json()) == result


def test_a_tie_is_explained_as_one() -> None:
    tied = tuple(replace(candidate, tokens_per_item=3840) for candidate in IMPLICIT_PLAN.candidates)
    assert "by name" in replace(IMPLICIT_PLAN, candidates=tied).reason


def test_a_server_that_came_up_and_did_not_answer_is_not_passed_over() -> None:
    start = replace(make_start("implicit"), image_tokens=None, error="The server answered with 500.")
    assert "but did not answer: The server answered with 500" in explain_startups([start])


# One image in a prompt, with many sequences and with few: the shape of vLLM #44952.
MANY = replace(EXPLICIT_PLAN, items=12, max_num_seqs=256, max_num_batched_tokens=16384, encoder_budget=16384)


def see(plan: EncoderPlan, start: Startup) -> Startup:
    """The start of a setting whose log says what its plan says."""
    assert start.log.profiled is not None
    profiled = replace(
        start.log.profiled, items=plan.items, modality=str(plan.modality), encoder_budget=plan.encoder_budget
    )
    return replace(start, log=replace(start.log, profiled=profiled))


def test_a_batch_larger_than_the_test_needs_is_a_mechanism_of_its_own() -> None:
    result = classify(implicit_plan=MANY, implicit_start=see(MANY, make_start("explicit")))
    assert result.verdict is Verdict.MECHANISM
    assert "max_num_seqs 256 instead of 128" in result.cause
    assert "12 image items" in result.cause
    assert [(arm.name, arm.verdict) for arm in result.arms] == [
        ("implicit {'image': 1, 'video': 0}, max_num_seqs 256", Verdict.MECHANISM),
        ("explicit {'image': 1, 'video': 0}, max_num_seqs 128", Verdict.NOT_REPRODUCED),
    ]


def test_a_larger_batch_that_hangs_reproduces_and_two_hangs_blame_nothing() -> None:
    many = see(MANY, hang(make_start("explicit")))
    assert classify(implicit_plan=MANY, implicit_start=many).verdict is Verdict.REPRODUCED
    both = classify(implicit_plan=MANY, implicit_start=many, explicit_start=hang(make_start("explicit")))
    assert both.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("change", [{"max_model_len": 8192}, {"revision": "sha256:1"}, {"limits_given": {"image": 2}}])
def test_batches_of_different_models_or_limits_are_not_compared(change: dict[str, object]) -> None:
    result = classify(
        implicit_plan=MANY,
        implicit_start=see(MANY, make_start("explicit")),
        explicit_plan=replace(EXPLICIT_PLAN, **change),  # type: ignore[arg-type]
    )
    assert result.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("missing", ["explicit_plan", "explicit_start", "implicit_start"])
def test_without_the_smaller_batch_nothing_is_said_of_the_larger(missing: str) -> None:
    result = classify(**{"implicit_plan": MANY, "implicit_start": see(MANY, make_start("explicit"))} | {missing: None})
    assert result.verdict is Verdict.INCONCLUSIVE
