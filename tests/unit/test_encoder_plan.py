"""The estimate's formulas, the suggestion, the difference and the command's input, without an engine."""

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from triage.encoder import (
    Activation,
    Candidate,
    EncoderPlan,
    PlanAnswer,
    compare_activations,
    compare_plans,
    compare_suggestion,
    diff_plans,
    estimate_activation,
    explain_activation,
    explain_difference,
    plot_plans,
    read_inputs,
    read_limits,
    show_flag,
    suggest_limits,
)
from triage.engine.budget import DummyInput
from triage.engine.tower import TowerWeights, read_tower_weights
from triage.errors import CheckpointError, InputError

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_heads": 2}
SIGLIP = TowerWeights(names=("vision_tower.embeddings.position_embedding.weight",), elements=1, size_bytes=4)


def make_batch(frames: int, height: int, width: int, *, dtype: str = "bfloat16") -> tuple[DummyInput, ...]:
    """One video as Qwen's processor lays it out: patches in rows, and the grid they form."""
    rows = frames * height * width
    size_bytes = rows * 1176 * (1 if dtype == "uint8" else 2)
    return (
        DummyInput(name="pixel_values_videos", shape=(rows, 1176), dtype=dtype, size_bytes=size_bytes),
        DummyInput(name="video_grid_thw", shape=(1, 3), dtype="int64", size_bytes=24, values=(frames, height, width)),
    )


def estimate(
    batch: tuple[DummyInput, ...], *, tower: TowerWeights | None = None, dtype: str = "bfloat16", **sizes: int
) -> Activation:
    found = estimate_activation(batch, encoder={**SIZES, **sizes}, dtype=dtype, tower=tower)
    assert found is not None
    return found


def make_plan(modality: str | None, **changes: object) -> EncoderPlan:
    batches = {"image": make_batch(1, 64, 80), "video": make_batch(3, 48, 60)}
    tokens = {"image": 1280, "video": 3840}
    limits = {"image": 0, "video": 0} if modality is None else {"image": 1, "video": 0 if modality == "image" else 999}
    plan = EncoderPlan(
        model="qwen25vl",
        revision="sha256:0",
        limits_given={},
        modality=modality,
        items=1 if modality else 0,
        tokens_per_item=tokens[modality] if modality else 0,
        encoder_budget=3840 if modality else 0,
        candidates=tuple(
            Candidate(
                modality=name,
                limit=limit,
                tokens_per_item=tokens[name] if limit else 0,
                items_per_prompt=min(limit, 1),
                items_per_batch=min(limit, 1),
                inputs=batches[name] if limit else (),
                activation=estimate(batches[name]) if limit else None,
            )
            for name, limit in limits.items()
        ),
        inputs=batches[modality] if modality else (),
        profiling_skipped=False,
        dtype="bfloat16",
        max_model_len=4096,
        max_num_seqs=128,
        max_num_batched_tokens=2048,
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("pixels", ["uint8", "bfloat16"])
@pytest.mark.parametrize("tower", [None, SIGLIP])
def test_each_formula_as_it_is_shown_gives_the_bytes_that_stand_beside_it(
    dtype: str, pixels: str, tower: TowerWeights | None
) -> None:
    found = estimate(make_batch(3, 48, 60, dtype=pixels), tower=tower, dtype=dtype)
    for stage in found.stages:
        assert eval(stage.formula, {}, dict(found.symbols)) == stage.size_bytes
    assert found.size_bytes == max(stage.size_bytes for stage in found.stages if stage.name != "scores")


def test_whole_images_attend_each_to_themselves_and_all_at_once() -> None:
    images = (DummyInput(name="pixel_values", shape=(4, 3, 56, 56), dtype="bfloat16", size_bytes=75264),)
    found = estimate(images, tower=SIGLIP, patch_size=14)
    assert (found.symbols["S"], found.symbols["s"], found.symbols["C"]) == (64, 16, 3 * 14 * 14)
    assert "S*s" in next(stage.formula for stage in found.stages if stage.name == "scores")


def test_more_frames_grow_the_batch_and_not_the_longest_sequence() -> None:
    short, long = estimate(make_batch(3, 48, 60)), estimate(make_batch(6, 48, 60))
    assert long.size_bytes == 2 * short.size_bytes
    assert (short.symbols["s"], long.symbols["s"]) == (2880, 2880)


def test_a_bigger_frame_costs_a_matrix_of_scores_by_its_square() -> None:
    one, four = (estimate(make_batch(1, side, side)).score_bytes for side in (100, 200))
    assert 13 < four / one < 16


def test_wide_feed_forward_layers_take_over_from_the_attention() -> None:
    assert estimate(make_batch(1, 8, 8)).stage == "attention"
    assert estimate(make_batch(1, 8, 8), intermediate_size=4096).stage == "feed-forward"


@pytest.mark.parametrize("gone", sorted(SIZES))
def test_an_encoder_that_does_not_state_a_size_gets_no_estimate(gone: str) -> None:
    sizes = {name: size for name, size in SIZES.items() if name != gone}
    assert estimate_activation(make_batch(1, 8, 8), encoder=sizes, dtype="bfloat16", tower=None) is None


def test_an_input_without_pixels_gets_no_estimate_and_the_plan_says_so() -> None:
    audio = (DummyInput(name="input_features", shape=(1, 128, 3000), dtype="bfloat16", size_bytes=768000),)
    assert estimate_activation(audio, encoder=SIZES, dtype="bfloat16", tower=None) is None
    plan = make_plan("image")
    bare = replace(plan, candidates=tuple(replace(c, activation=None) for c in plan.candidates))
    assert bare.to_json()["activation_bytes"] is None
    assert "no formula" in explain_activation(bare)


def test_the_encoders_weights_are_counted_in_the_headers(tmp_path: Path) -> None:
    header = {
        "visual.blocks.0.mlp.gate_proj.weight": {"dtype": "BF16", "shape": [128, 64], "data_offsets": [0, 16384]},
        "model.layers.0.mlp.gate_proj.weight": {"dtype": "BF16", "shape": [9, 9], "data_offsets": [16384, 16546]},
        "__metadata__": {"format": "pt"},
    }
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    found = read_tower_weights(tmp_path)
    assert found is not None
    assert (found.elements, found.size_bytes, found.gated, found.positioned) == (8192, 16384, True, False)


def test_a_weights_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is no safetensors file"):
        read_tower_weights(tmp_path)


def test_a_suggestion_covers_what_is_sent_and_switches_the_rest_off() -> None:
    plan = make_plan("video")
    assert suggest_limits(plan, {"image": 2}) == {"image": 2, "video": 0}
    assert show_flag(suggest_limits(plan, {"image": 1})) == """--limit-mm-per-prompt '{"image": 1, "video": 0}'"""


def test_a_suggestion_for_what_the_model_does_not_have_names_what_it_has() -> None:
    with pytest.raises(InputError, match=r"no modality 'audio'.*image, video"):
        suggest_limits(make_plan("video"), {"audio": 1})


def test_a_suggestion_above_what_the_model_takes_is_refused() -> None:
    plan = make_plan("video")
    plan = replace(plan, candidates=tuple(replace(c, supported=1) for c in plan.candidates))
    with pytest.raises(InputError, match="at most 1 image"):
        suggest_limits(plan, {"image": 2})


def test_the_difference_names_what_changed_and_nothing_else() -> None:
    changed = diff_plans(make_plan("video"), make_plan("image"))
    assert changed["modality"] == ["video", "image"]
    assert changed["limit of video"] == [999, 0]
    assert "items" not in changed
    assert "1 video item(s) of 3840 tokens becomes 1 image item(s)" in explain_difference(
        make_plan("video"), make_plan("image")
    )


def test_two_settings_that_profile_the_same_are_said_to() -> None:
    assert diff_plans(make_plan("video"), make_plan("video")) == {}
    assert explain_difference(make_plan("video"), make_plan("video")) == "Both settings profile the same."


def test_a_setting_that_profiles_nothing_is_a_difference_and_costs_nothing() -> None:
    nothing = make_plan(None)
    assert (nothing.to_json()["items"], nothing.to_json()["activation_bytes"]) == (0, 0)
    assert "becomes nothing" in explain_difference(make_plan("video"), nothing)
    assert compare_activations({"nothing": nothing}).empty
    assert plot_plans({"nothing": nothing}).axes


def test_tables_and_picture_carry_the_estimate() -> None:
    plans = {"implicit": make_plan("video"), "explicit": make_plan("image")}
    assert compare_plans(plans)["activation_bytes"].tolist()[-1] == 0  # the video that was removed
    assert list(compare_activations(plans)["stage"]) == ["attention", "attention"]
    assert "MiB" in plot_plans(plans).axes[1].get_xlabel()


def test_the_answer_keeps_the_contracts_fields_and_adds_the_second_setting() -> None:
    answer = PlanAnswer(
        plan=make_plan("video"), other=make_plan("image"), suggestion={"image": 1, "video": 0}
    ).to_json()
    assert {"modality", "items", "tokens_per_item", "encoder_budget", "candidates"} <= set(answer)
    assert answer["against"]["modality"] == "image"
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{image: 1}", "is not JSON"),
        ("[1]", "no JSON object"),
        ('{"image": -1}', "image is -1"),
        ('{"image": 1.5}', "image is 1.5"),
        ('{"image": true}', "image is true"),
        ('{"image": "1", "video": null}', 'image is "1", video is null'),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_limits_that_are_no_whole_numbers_are_refused_with_their_place(text: str, words: str) -> None:
    with pytest.raises(InputError, match="--against") as caught:
        read_limits(text, option="--against")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "image", "image=-1", "image=1,image=2", "=1", "image=1.5", "image=²"])
def test_inputs_that_are_no_counts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--suggest"):
        read_inputs(text)


@pytest.mark.parametrize(
    "args",
    [
        ["/no/such/folder"],
        ["tiny:none"],
        ["tiny:qwen25vl", "--limit-mm-per-prompt", "{"],
        ["tiny:qwen25vl", "--limit-mm-per-prompt", '{"image": -1}'],
        ["tiny:qwen25vl", "--suggest", "image"],
        ["tiny:qwen25vl", "--suggest", "image=1", "--against", "{}"],
        ["tiny:qwen25vl", "--model-impl", "terratorch"],
        ["tiny:qwen25vl", "--max-model-len", "0"],
    ],
)
def test_bad_input_to_the_command_is_one_sentence_and_exit_2(args: list[str]) -> None:
    command = [sys.executable, "-m", "triage.cli", "plan", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_the_suggestion_as_a_table_ends_with_the_flag_to_copy() -> None:
    table = compare_suggestion(make_plan("video"), {"image": 1})
    assert list(table["modality"]) == ["image", "video", "flag"]
    assert table["suggested"].tolist()[:2] == [1, 0]
    assert "limit-mm-per-prompt" in table["suggested"].tolist()[2]
