"""vLLM's resolved configuration and the cosines of one model served under two settings."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from triage import cases
from triage.engine.pooling import embed_in_float64
from triage.engine.resolved import list_architectures, resolve_config
from triage.errors import InputError
from triage.result import Verdict
from triage.settings import (
    PairTexts,
    ResolvedConfig,
    ServedPairs,
    choose_model,
    classify_settings_leak,
    compare_cosines,
    compare_resolved,
    list_leaks,
    measure_pairs,
    measure_reference,
    platform_args,
)

pytestmark = pytest.mark.engine

PARAMETERS: dict[str, Any] = tomllib.loads(
    (Path(cases.__file__).parent / "gritlm-server-defaults.toml").read_text(encoding="utf-8")
)["parameters"]
DEFAULT_ARGS = ["--runner", "pooling", "--max-model-len", str(PARAMETERS["max_model_len"]), *platform_args()]
EXPLICIT_ARGS = [*DEFAULT_ARGS, *PARAMETERS["explicit_args"]]
TEXTS = PairTexts(
    queries=tuple(PARAMETERS["queries"]),
    documents=tuple(PARAMETERS["documents"]),
    query_instruction=PARAMETERS["query_instruction"],
    document_instruction=PARAMETERS["document_instruction"],
)


@pytest.fixture(scope="module")
def model() -> Path:
    folder, note = choose_model("auto")
    assert ("no longer" in note) == (folder.name == "gritlm-mistral")
    return folder


@pytest.fixture(scope="module")
def configs(model: Path) -> tuple[ResolvedConfig, ResolvedConfig]:
    return (
        resolve_config(model, args=DEFAULT_ARGS),
        resolve_config(model, args=EXPLICIT_ARGS, env=PARAMETERS["explicit_env"]),
    )


@pytest.fixture(scope="module")
def reference(model: Path) -> tuple[float, ...]:
    return measure_reference(model, TEXTS)


@pytest.fixture(scope="module")
def served(model: Path) -> tuple[ServedPairs, ServedPairs]:
    return (
        measure_pairs(model, TEXTS, name="defaults", args=DEFAULT_ARGS, repeats=2),
        measure_pairs(model, TEXTS, name="explicit", args=EXPLICIT_ARGS, env=PARAMETERS["explicit_env"], repeats=2),
    )


def test_the_stand_in_is_the_one_that_the_registry_allows(model: Path) -> None:
    assert (model.name == "gritlm") == ("GritLM" in list_architectures())


def test_the_rocm_settings_resolve_differently_from_the_defaults(
    configs: tuple[ResolvedConfig, ResolvedConfig],
) -> None:
    default, explicit = configs
    assert explicit.settings["scheduler_config.max_num_seqs"] == 1
    assert {"scheduler_config.max_num_seqs", "VLLM_ROCM_USE_SKINNY_GEMM"} <= set(list_leaks(default, explicit))


def test_the_same_command_line_resolves_to_the_same_configuration_twice(
    model: Path, configs: tuple[ResolvedConfig, ResolvedConfig]
) -> None:
    again = resolve_config(model, args=DEFAULT_ARGS)
    assert compare_resolved(configs[0], again).empty


def test_arguments_that_vllm_refuses_are_an_input_error(model: Path) -> None:
    with pytest.raises(InputError, match="max-num-seqs"):
        resolve_config(model, args=[*DEFAULT_ARGS, "--max-num-seqs", "many"])


def test_the_server_agrees_with_the_float64_reference_within_the_tolerance(
    reference: tuple[float, ...], served: tuple[ServedPairs, ServedPairs]
) -> None:
    for setting in served:
        assert setting.means() == pytest.approx(reference, abs=PARAMETERS["tolerance"])


def test_the_cosines_tell_the_pairs_apart_by_more_than_the_tolerance(reference: tuple[float, ...]) -> None:
    assert max(reference) - min(reference) > PARAMETERS["tolerance"]


def test_the_reference_follows_the_texts_and_the_bidirectional_attention(model: Path) -> None:
    texts = ["open models", "open models need data", "need data"]
    whole, longer, other = embed_in_float64(model, texts, instructions=["", "", ""])
    assert compare_cosines(whole, whole) == pytest.approx(1.0)
    assert compare_cosines(whole, longer) != pytest.approx(compare_cosines(whole, other), abs=1e-6)


def test_both_settings_measured_show_the_mechanism(
    configs: tuple[ResolvedConfig, ResolvedConfig],
    reference: tuple[float, ...],
    served: tuple[ServedPairs, ServedPairs],
) -> None:
    result = classify_settings_leak(
        case="gritlm-server-defaults",
        default_config=configs[0],
        explicit_config=configs[1],
        reference=reference,
        default_pairs=served[0],
        explicit_pairs=served[1],
        tolerance=PARAMETERS["tolerance"],
    )
    assert result.verdict is Verdict.MECHANISM, result.cause
