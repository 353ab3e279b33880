"""The settings family's verdict follows its evidence, and nothing else."""

from dataclasses import replace

import pytest

from triage.errors import InputError
from triage.result import Result, Verdict
from triage.settings import (
    PairTexts,
    ResolvedConfig,
    ServedPairs,
    classify_settings_leak,
    compare_cosines,
    compare_margins,
    compare_resolved,
    explain_margins,
    list_idle,
    list_leaks,
    plot_margins,
)

DEFAULT_CONFIG = ResolvedConfig(
    settings={
        "scheduler_config.max_num_seqs": 128,
        "scheduler_config.max_num_batched_tokens": 2048,
        "cache_config.enable_prefix_caching": False,
    },
    variables={"VLLM_ROCM_USE_SKINNY_GEMM": True, "VLLM_USE_RAY": False},
    given_arguments=("max_model_len", "runner"),
    given_variables=(),
)
EXPLICIT_CONFIG = ResolvedConfig(
    settings={
        "scheduler_config.max_num_seqs": 1,
        "scheduler_config.max_num_batched_tokens": 1024,
        "cache_config.enable_prefix_caching": False,
    },
    variables={"VLLM_ROCM_USE_SKINNY_GEMM": False, "VLLM_USE_RAY": False},
    given_arguments=("enable_prefix_caching", "max_model_len", "max_num_seqs", "runner"),
    given_variables=("VLLM_ROCM_USE_SKINNY_GEMM",),
)
REFERENCE = (0.609, 0.101)
TOLERANCE = 0.0023


def make_served(name: str, *deviations: float, spread: float = 0.0) -> ServedPairs:
    """Two repeats whose deviations from the reference are ``deviations``, the second further off by ``spread``."""
    repeats = tuple(
        tuple(truth + off + extra for truth, off in zip(REFERENCE, deviations, strict=True)) for extra in (0.0, spread)
    )
    return ServedPairs(
        name=name, args=(), env={}, pairs=("q0 d0", "q0 d1"), cosines=repeats, prompt_tokens=480, startup_s=40.0
    )


def classify(**changes: object) -> Result:
    evidence: dict[str, object] = {
        "default_config": DEFAULT_CONFIG,
        "explicit_config": EXPLICIT_CONFIG,
        "reference": REFERENCE,
        "default_pairs": make_served("defaults", 1e-3, -4e-4),
        "explicit_pairs": make_served("explicit", 2e-4, -1e-4),
        "tolerance": TOLERANCE,
    }
    return classify_settings_leak(case="gritlm-server-defaults", **(evidence | changes))  # type: ignore[arg-type]


def test_defaults_that_resolve_differently_and_were_measured_show_the_mechanism() -> None:
    result = classify()
    assert result.verdict is Verdict.MECHANISM
    assert "max_num_seqs" in result.cause
    assert "VLLM_ROCM_USE_SKINNY_GEMM" in result.cause
    assert "max_num_batched_tokens" not in result.cause
    assert result.needs_gpu is not None


@pytest.mark.parametrize(
    "missing", ["default_config", "explicit_config", "reference", "default_pairs", "explicit_pairs"]
)
def test_without_one_observation_the_verdict_is_inconclusive(missing: str) -> None:
    result = classify(**{missing: None})
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.needs_gpu is None


def test_a_test_that_passes_everything_explicitly_leaks_nothing() -> None:
    result = classify(default_config=EXPLICIT_CONFIG)
    assert result.verdict is Verdict.NOT_REPRODUCED


def test_defaults_beyond_the_tolerance_reproduce_when_explicit_settings_are_inside() -> None:
    result = classify(default_pairs=make_served("defaults", 2.4e-3, 0.0))
    assert result.verdict is Verdict.REPRODUCED
    assert [arm.verdict for arm in result.arms] == [Verdict.REPRODUCED, Verdict.NOT_REPRODUCED]


def test_a_tolerance_that_is_missed_either_way_is_not_blamed_on_the_settings() -> None:
    result = classify(default_pairs=make_served("defaults", 3e-3, 0.0), explicit_pairs=make_served("x", 2.9e-3, 0.0))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "not the cause, or not alone" in result.cause


def test_no_setting_is_blamed_for_an_effect_below_the_noise() -> None:
    noisy = make_served("defaults", 1e-3, -4e-4, spread=5e-3)
    result = classify(default_pairs=replace(noisy, cosines=noisy.cosines[:1] * 2), tolerance=0.01)
    assert "above the noise" in result.cause
    result = classify(default_pairs=noisy, tolerance=0.01)
    assert "none is blamed" in result.cause


def test_a_missed_tolerance_below_the_noise_decides_nothing() -> None:
    noisy = make_served("defaults", -2e-3, 0.0, spread=5e-3)
    assert classify(default_pairs=noisy).verdict is Verdict.INCONCLUSIVE


def test_a_tighter_tolerance_turns_the_mechanism_into_the_symptom() -> None:
    assert classify(tolerance=0.0005).verdict is Verdict.REPRODUCED


def test_servers_that_counted_other_tokens_did_not_embed_the_same_input() -> None:
    result = classify(explicit_pairs=replace(make_served("explicit", 0.0, 0.0), prompt_tokens=479))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "480 and 479" in result.cause


def test_a_reference_of_other_pairs_decides_nothing() -> None:
    assert classify(reference=(0.609,)).verdict is Verdict.INCONCLUSIVE


def test_the_comparison_names_what_changed_and_whether_it_was_passed() -> None:
    table = compare_resolved(DEFAULT_CONFIG, EXPLICIT_CONFIG).set_index("name")
    assert list(table["change"]) == ["changed"] * 3
    row = table.loc["scheduler_config.max_num_seqs"]
    assert (row["before"], row["after"], row["set_before"], row["set_after"]) == ("128", "1", False, True)
    assert not table.loc["scheduler_config.max_num_batched_tokens", "set_after"]


def test_added_and_removed_names_are_told_apart() -> None:
    fewer = DEFAULT_CONFIG.model_copy(update={"settings": {"cache_config.enable_prefix_caching": False, "x.new": 1}})
    changes = compare_resolved(DEFAULT_CONFIG, fewer).set_index("name")["change"].to_dict()
    assert changes["x.new"] == "added"
    assert changes["scheduler_config.max_num_seqs"] == "removed"


def test_an_explicit_argument_that_changes_nothing_is_idle_not_a_leak() -> None:
    assert list_idle(DEFAULT_CONFIG, EXPLICIT_CONFIG) == ("cache_config.enable_prefix_caching",)
    assert list_leaks(DEFAULT_CONFIG, EXPLICIT_CONFIG) == ("scheduler_config.max_num_seqs", "VLLM_ROCM_USE_SKINNY_GEMM")


def test_the_margin_is_that_of_the_worst_repeat() -> None:
    table = compare_margins(REFERENCE, [make_served("defaults", 1e-3, -3e-3, spread=1e-3)], tolerance=TOLERANCE)
    assert table["margin"].tolist() == pytest.approx([TOLERANCE - 2e-3, TOLERANCE - 3e-3])


def test_the_picture_shows_every_setting_over_the_tolerance_band() -> None:
    served = [make_served("defaults", 1e-3, 0.0), make_served("explicit", 0.0, 0.0)]
    figure = plot_margins(REFERENCE, served, tolerance=TOLERANCE)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"defaults", "explicit", f"tolerance ±{TOLERANCE:g}"} <= set(labels)
    assert "q0 d0" in explain_margins(REFERENCE, served, tolerance=TOLERANCE)


def test_a_zero_vector_or_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="zero vector"):
        compare_cosines([0.0], [1.0])
    with pytest.raises(InputError, match="1 and 2 numbers"):
        compare_cosines([1.0], [1.0, 2.0])


def test_a_comparison_without_texts_is_refused() -> None:
    with pytest.raises(InputError, match="no pair"):
        PairTexts(queries=(), documents=("a",))


def test_the_result_survives_json() -> None:
    result = classify(model_note="a stand-in", revision="sha256:0")
    assert result.snapshots == {"model": "sha256:0"}
    assert Result.from_json(result.to_json()) == result


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["reference", "default_pairs", "explicit_pairs"])
def test_a_cosine_that_is_no_number_decides_nothing(place: str, number: float) -> None:
    # the second pair is fine: a NaN must not be passed over in the search for the worst one
    broken = (number, REFERENCE[1]) if place == "reference" else make_served(place, number, 0.0)
    result = classify(**{place: broken})
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "not a number" in result.cause


@pytest.mark.parametrize("tolerance", [float("nan"), float("inf"), -0.001])
def test_a_tolerance_that_is_none_is_bad_input(tolerance: float) -> None:
    with pytest.raises(InputError, match="is no distance of two cosines"):
        classify(tolerance=tolerance)


def test_a_pair_outside_the_tolerance_without_any_leak_is_not_called_absent() -> None:
    result = classify(explicit_config=DEFAULT_CONFIG, default_pairs=make_served("defaults", 5e-3, 0.0))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the reason lies elsewhere" in result.cause


def test_a_switch_is_named_as_bound_to_rocm_only_where_it_leaks() -> None:
    assert "VLLM_ROCM_USE_SKINNY_GEMM" in str(classify().needs_gpu)
    same = EXPLICIT_CONFIG.model_copy(update={"variables": DEFAULT_CONFIG.variables, "given_variables": ()})
    without = classify(explicit_config=same)
    assert without.verdict is Verdict.MECHANISM
    assert "VLLM_ROCM" not in str(without.needs_gpu)
