"""How much memory the dummy batch takes on its way through the encoder: an estimate, with its formula."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triage.engine.budget import DummyInput
from triage.engine.tower import TowerWeights

_FLOAT32_BYTES = 4
ELEMENT_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# The same size under the names that the configurations of vision towers give it.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "embed_dim", "width"),
    "intermediate": ("intermediate_size", "mlp_dim"),
    "heads": ("num_heads", "num_attention_heads", "heads"),
    "patch": ("patch_size",),
}
ASSUMPTIONS = (
    "one layer is live at a time: nothing is kept for a backward pass",
    "every operation writes a tensor of its own, as Transformers' code does; fused kernels need less",
    "rotary positions are computed in float32",
    "inputs in another dtype are copied into the model's, and the copy lives to the end",
    "the encoder's weights, the input tensors, index tensors and what a kernel needs for itself are not counted",
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One moment of the forward pass. ``formula`` gives ``size_bytes`` in the symbols of its `Activation`."""

    name: str
    formula: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Activation:
    """The estimate: the largest stage, because the stages do not live at the same time.

    ``symbols``: S patches in the batch, s in the longest sequence that attends to itself, H hidden, I intermediate,
    A heads, C input values per patch, e bytes per value. ``score_bytes`` is what the attention takes where no flash
    kernel spares its matrix of scores; ``size_bytes`` is without it.
    """

    size_bytes: int
    score_bytes: int
    stage: str
    formula: str
    symbols: Mapping[str, int]
    stages: tuple[Stage, ...]

    def to_json(self) -> dict[str, Any]:
        """The estimate as plain JSON, with what it assumes."""
        return {
            "size_bytes": self.size_bytes,
            "size_without_flash_bytes": max(self.size_bytes, self.score_bytes),
            "stage": self.stage,
            "formula": self.formula,
            "symbols": dict(self.symbols),
            "stages": [vars(stage).copy() for stage in self.stages],
            "assumptions": list(ASSUMPTIONS),
        }


def estimate_activation(
    inputs: Sequence[DummyInput], *, encoder: Mapping[str, int | float | str], dtype: str, tower: TowerWeights | None
) -> Activation | None:
    """The most bytes that live at once while a vision tower encodes these inputs; None where it has no such tower.

    ``encoder`` are the sizes that the vision configuration states, ``dtype`` is the engine's. The checkpoint's tensor
    names tell whether the feed-forward is gated and whether positions are rotary; without weights both are assumed.

    The stages are read off Transformers' ``modeling_qwen2_5_vl.py`` and ``modeling_siglip.py``.

    >>> grid = DummyInput(name="image_grid_thw", shape=(1, 3), dtype="int64", size_bytes=24, values=(1, 2, 4))
    >>> pixels = DummyInput(name="pixel_values", shape=(8, 12), dtype="float32", size_bytes=384)
    >>> sizes = {"hidden_size": 4, "intermediate_size": 8, "num_heads": 2}
    >>> found = estimate_activation([pixels, grid], encoder=sizes, dtype="float32", tower=None)
    >>> found.stage, found.formula, found.size_bytes
    ('attention', 'S*(H*10*e + 8*H/A)', 1408)
    """
    sizes = {name: _find_size(encoder, names) for name, names in _ALIASES.items()}
    hidden, heads, width = sizes["hidden"], sizes["heads"], ELEMENT_BYTES.get(dtype)
    if sizes["intermediate"] is None and hidden and "mlp_ratio" in encoder:
        sizes["intermediate"] = int(hidden * float(encoder["mlp_ratio"]))
    inner = sizes["intermediate"]
    pixels = next((tensor for tensor in inputs if tensor.name.startswith("pixel_values")), None)
    if not (hidden and heads and inner and width and pixels):
        return None
    counted = _count_patches(pixels, inputs, sizes["patch"])
    if counted is None:
        return None
    patches, longest = counted
    symbols = {"S": patches, "s": longest, "H": hidden, "I": inner, "A": heads, "e": width}
    symbols["C"] = math.prod(pixels.shape) // patches
    stages = _list_stages(
        symbols,
        cast=pixels.dtype != dtype,
        gated=tower is None or tower.gated,
        rotary=tower is None or not tower.positioned,
        packed=len(pixels.shape) == 2,
    )
    scores = next(stage for stage in stages if stage.name == "scores")
    most = max((stage for stage in stages if stage is not scores), key=lambda stage: stage.size_bytes)
    return Activation(
        size_bytes=most.size_bytes,
        score_bytes=scores.size_bytes,
        stage=most.name,
        formula=most.formula,
        symbols=symbols,
        stages=stages,
    )


def _find_size(encoder: Mapping[str, int | float | str], names: Sequence[str]) -> int | None:
    return next((value for name in names if isinstance(value := encoder.get(name), int) and value > 0), None)


def _count_patches(pixels: DummyInput, inputs: Sequence[DummyInput], patch: int | None) -> tuple[int, int] | None:
    """Patches in the batch, and in the longest sequence; None for a layout of pixels that is not known."""
    if len(pixels.shape) == 2:  # patches in rows; a grid of (time, height, width) for each item, attended by frame
        grid = next((tensor for tensor in inputs if "grid" in tensor.name and tensor.values), None)
        if grid is None or grid.values is None:
            return pixels.shape[0], pixels.shape[0]
        columns = grid.shape[-1]
        heights, widths = grid.values[columns - 2 :: columns], grid.values[columns - 1 :: columns]
        return pixels.shape[0], max(h * w for h, w in zip(heights, widths, strict=True))
    if len(pixels.shape) < 4 or patch is None:
        return None
    *items, _, height, width = pixels.shape  # whole images, channels before height and width
    longest = (height // patch) * (width // patch)
    return (math.prod(items) * longest, longest) if longest else None


def _list_stages(
    symbols: Mapping[str, int], *, cast: bool, gated: bool, rotary: bool, packed: bool
) -> tuple[Stage, ...]:
    patches, longest, hidden, inner, heads, values, width = (symbols[name] for name in "SsHIACe")
    half = width < _FLOAT32_BYTES  # softmax and rotations then make copies in float32
    # cos and sin of the rotations: float32, for each patch and the half and half of one head
    angles, angles_text = (8 * (hidden // heads), " + 8*H/A") if rotary else (0, "")

    # a copy of the pixels in the model's dtype, which the caller holds to the end
    copied, copied_text = (values * width, " + C*e") if cast else (0, "")

    # residual, norm, query, key and value; then
    # - in half precision, while rotating: query and key in float32, one result, three terms of the other (4 bytes each)
    # - in float32, after it: rotated query and key, the sequences' outputs, these joined, their projection
    # - without rotations: the output, the output with its heads joined, its projection
    if rotary:
        attention, attention_text = (5 * width + 24, "H*(5*e + 24)") if half else (10 * width, "H*10*e")
    else:
        attention, attention_text = 8 * width, "H*8*e"

    # residual, norm, query, key, value; beside them both rotated ones and the output so far, or one key laid out anew
    beside = 8 if rotary else 6
    # scores in the model's dtype, the same in float32, the softmax; packed sequences go one after the other
    each = width + 8 if half else width + 4
    matrix = heads * longest * (longest if packed else patches) * each
    matrix_text = f"A*{'s*s' if packed else 'S*s'}*(e + {each - width})"

    wide = 3 if gated else 2  # gate, up-projection and their product
    feed = width * (2 * hidden + wide * inner) + angles
    rows = {
        "patches": ("H*e", hidden * width, "", 0),
        "attention": (f"{attention_text}{angles_text}", hidden * attention + angles, "", 0),
        "scores": (f"H*{beside}*e{angles_text}", hidden * beside * width + angles, f"{matrix_text} + ", matrix),
        "feed-forward": (f"e*(2*H + {wide}*I){angles_text}", feed, "", 0),
    }
    return tuple(
        Stage(
            name=name, formula=f"{extra_text}S*({text}{copied_text})", size_bytes=extra + patches * (each_row + copied)
        )
        for name, (text, each_row, extra_text, extra) in rows.items()
    )
