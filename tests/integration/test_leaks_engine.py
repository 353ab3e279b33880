"""What a start leaves to defaults, by vLLM itself, here and elsewhere; explicit settings leave nothing."""

import pytest

from triage.cases import read_case
from triage.engine.models import find_model
from triage.settings import (
    DefaultSource,
    Leak,
    ResolveAs,
    ResolvedConfig,
    find_leaks,
    list_pins,
    resolve_config,
    resolve_platforms,
)

pytestmark = pytest.mark.engine

ARGS = ["--runner", "pooling", "--max-model-len", str(read_case("gritlm-server-defaults").parameters["max_model_len"])]


@pytest.fixture(scope="module")
def resolved() -> dict[str, ResolvedConfig]:
    return resolve_platforms(find_model("tiny:gritlm-mistral"), [ResolveAs.HERE, ResolveAs.MI300X], args=ARGS)


@pytest.fixture(scope="module")
def leaks(resolved: dict[str, ResolvedConfig]) -> dict[str, Leak]:
    return {leak.name: leak for leak in find_leaks(resolved)}


def test_the_batch_size_differs_between_platforms_and_vllm_says_where(leaks: dict[str, Leak]) -> None:
    leak = leaks["max_num_seqs"]
    assert len({leak.values["here"], leak.values["MI300X"]}) == 2
    assert leak.source is DefaultSource.DEVICE_AND_USAGE
    assert leak.place is not None
    assert leak.place.startswith("vllm/engine/arg_utils.py:")


def test_the_platform_class_decides_the_block_size(leaks: dict[str, Leak]) -> None:
    assert leaks["block_size"].source is DefaultSource.PLATFORM
    assert leaks["block_size"].pin == f"--block-size {leaks['block_size'].values['here']}"


def test_what_was_passed_is_no_leak(leaks: dict[str, Leak]) -> None:
    assert not {"runner", "max_model_len"} & set(leaks)


def test_a_start_that_passes_everything_explicitly_leaves_nothing(
    resolved: dict[str, ResolvedConfig], leaks: dict[str, Leak]
) -> None:
    assert len(leaks) > 5
    words, variables = list_pins(tuple(leaks.values()))
    pinned = resolve_config(find_model("tiny:gritlm-mistral"), args=[*ARGS, *words], env=variables)
    left = find_leaks({"pinned": pinned, **{name: config for name, config in resolved.items() if name != "here"}})
    assert [leak.name for leak in left if leaks[leak.name].pin is not None] == []
    for name, leak in leaks.items():
        if leak.pin is not None and not leak.is_variable:
            again = find_leaks({"here": resolved["here"], "pinned": pinned})
            assert name not in {other.name for other in again}, f"{leak.pin} does not keep what the default resolved to"
