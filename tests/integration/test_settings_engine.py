"""vLLM's resolved configuration and the cosines of one model served under two settings."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from triage.cases import read_case
from triage.engine.models import find_model
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

PARAMETERS: dict[str, Any] = read_case("gritlm-server-defaults").parameters
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


def test_the_reference_follows_the_texts(model: Path) -> None:
    texts = ["open models", "open models need data", "need data"]
    whole, longer, other = embed_in_float64(model, texts, instructions=["", "", ""])
    assert compare_cosines(whole, longer) != pytest.approx(compare_cosines(whole, other), abs=1e-6)


def drop_is_causal(model: Path, target: Path) -> Path:
    shutil.copytree(model, target)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config.pop("is_causal")
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return target


def test_a_mistral_that_does_not_say_so_is_not_bidirectional_in_the_reference(tmp_path: Path) -> None:
    model = find_model("tiny:gritlm-mistral")
    causal = drop_is_causal(model, tmp_path / "causal")
    text = ["open models need data"]
    here, there = (embed_in_float64(folder, text, instructions=[""])[0] for folder in (model, causal))
    assert compare_cosines(here, there) < 0.999


def test_a_gritlm_is_bidirectional_and_leaves_its_instruction_out_of_the_mean(tmp_path: Path) -> None:
    model = find_model("tiny:gritlm")
    silent = drop_is_causal(model, tmp_path / "silent")  # as the real config.json, which does not say so
    instruction = PARAMETERS["document_instruction"]
    text = [instruction + "open models need data"]
    masked = embed_in_float64(silent, text, instructions=[instruction])[0]
    assert masked == pytest.approx(embed_in_float64(model, text, instructions=[instruction])[0])
    counted = embed_in_float64(find_model("tiny:gritlm-mistral"), text, instructions=[instruction])[0]
    assert compare_cosines(masked, counted) < 0.999


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
