"""A leak is what was left to a default and is not the same everywhere; what was passed is none."""

import pytest

from triage.settings import DefaultSource, ResolvedConfig, find_leaks, list_pins, tabulate_leaks

OPTIONS = {
    "max_num_seqs": "--max-num-seqs",
    "enable_prefix_caching": "--enable-prefix-caching",
    "compilation_config": "--compilation-config",
    "kv_cache_dtype": "--kv-cache-dtype",
    "cudagraph_capture_sizes": "--cudagraph-capture-sizes",
}
HERE = ResolvedConfig(
    settings={
        "scheduler_config.max_num_seqs": 128,
        "cache_config.enable_prefix_caching": False,
        "compilation_config.mode": "NONE",
        "compilation_config.cudagraph_capture_sizes": [1, 2, 4, 8, 16],
        "scheduler_config.follows": 1,
    },
    arguments={"kv_cache_dtype": "auto"},
    variables={"VLLM_X": True, "VLLM_CACHE_ROOT": "~/a", "VLLM_API_KEY": "(not recorded)"},
    set_variables={"TORCH_SET": "1", "SOMEONE_ELSES": "1"},
    given_arguments=(),
    given_variables=(),
    options=OPTIONS,
    sources={
        "max_num_seqs": "vllm/engine/arg_utils.py:3124 _set_default_max_num_seqs_and_batched_tokens_args",
        "compilation_config.mode": "vllm/platforms/cpu.py:366 check_and_update_config",
    },
)
THERE = HERE.model_copy(
    update={
        "settings": {
            "scheduler_config.max_num_seqs": 1024,
            "cache_config.enable_prefix_caching": True,
            "compilation_config.mode": "VLLM_COMPILE",
            "compilation_config.cudagraph_capture_sizes": [1, 2],
            "scheduler_config.follows": 2,
        },
        "arguments": {"kv_cache_dtype": "fp8"},
        "variables": {"VLLM_X": False, "VLLM_CACHE_ROOT": "~/b", "VLLM_API_KEY": "other"},
        "set_variables": {},
    }
)


def find() -> dict[str, object]:
    return {leak.name: leak for leak in find_leaks({"here": HERE, "MI300X": THERE})}


def test_every_argument_and_variable_that_differs_is_a_leak_and_nothing_else_is():
    assert set(find()) == {
        "max_num_seqs",
        "enable_prefix_caching",
        "compilation_config.mode",
        "kv_cache_dtype",
        "cudagraph_capture_sizes",
        "VLLM_X",
        "TORCH_SET",
    }


def test_what_the_test_passes_is_no_leak():
    passed = HERE.model_copy(update={"given_arguments": tuple(OPTIONS), "given_variables": ("VLLM_X", "TORCH_SET")})
    assert find_leaks({"here": passed, "MI300X": THERE}) == ()
    one = HERE.model_copy(update={"given_arguments": ("max_num_seqs",)})
    assert "max_num_seqs" not in {leak.name for leak in find_leaks({"here": one, "MI300X": THERE})}


def test_the_same_everywhere_is_no_leak():
    assert find_leaks({"here": HERE, "again": HERE}) == ()
    assert find_leaks({"here": HERE}) == ()


def test_who_decides_is_told_from_the_line_that_assigned_it():
    sources = {leak.name: leak.source for leak in find_leaks({"here": HERE, "MI300X": THERE})}
    assert sources["max_num_seqs"] is DefaultSource.DEVICE_AND_USAGE
    assert sources["compilation_config.mode"] is DefaultSource.PLATFORM
    assert sources["kv_cache_dtype"] is DefaultSource.LITERAL
    assert sources["VLLM_X"] is DefaultSource.ENVIRONMENT


@pytest.mark.parametrize(
    ("name", "pin"),
    [
        ("max_num_seqs", "--max-num-seqs 128"),
        ("enable_prefix_caching", "--no-enable-prefix-caching"),
        ("compilation_config.mode", "--compilation-config.mode=NONE"),
        ("cudagraph_capture_sizes", "--cudagraph-capture-sizes 1 2 4 8 16"),
        ("VLLM_X", "VLLM_X=1"),
    ],
)
def test_a_pin_says_the_value_as_the_command_line_wants_it(name: str, pin: str):
    assert {leak.name: leak.pin for leak in find_leaks({"here": HERE, "MI300X": THERE})}[name] == pin


def test_pins_are_words_and_variables():
    words, variables = list_pins(find_leaks({"here": HERE, "MI300X": THERE}))
    assert words[:2] == ("--max-num-seqs", "128")
    assert variables == {"TORCH_SET": "1", "VLLM_X": "1"}


def test_the_table_has_a_column_for_every_resolution():
    table = tabulate_leaks(find_leaks({"here": HERE, "MI300X": THERE})).set_index("left to a default")
    assert table.loc["max_num_seqs", ["here", "MI300X"]].tolist() == ["128", "1024"]
    assert table.loc["max_num_seqs", "decided by"] == "device and usage: arg_utils.py:3124"
    assert table.loc["cudagraph_capture_sizes", "here"] == "5 values, 1 to 16"
