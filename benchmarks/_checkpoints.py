"""Checkpoints as large as they come: 200,000 tensors in 500 files, written as safetensors writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

TENSORS, SHARDS = 200_000, 500
_PARTS = ("gate_proj", "up_proj", "down_proj", "router")


def write_checkpoint(folder: Path, *, tensors: int = TENSORS, shards: int = SHARDS, prefix: str = "model") -> Path:
    """A mixture of experts; every hundredth name and every thousandth shape depends on ``prefix``."""
    folder.mkdir()
    each = tensors // shards
    for shard in range(shards):
        content = {}
        for number in range(shard * each, (shard + 1) * each):
            head = prefix if number % 100 == 0 else "model"
            layer, expert = divmod(number // len(_PARTS), 256)
            rows = len(prefix) if number % 1000 == 1 else 2
            name = f"{head}.layers.{layer}.mlp.experts.{expert}.{_PARTS[number % len(_PARTS)]}.weight"
            content[name] = np.zeros((rows, 3 + number % 2), np.float16)
        save_file(content, folder / f"model-{shard + 1:05d}-of-{shards:05d}.safetensors", {"format": "pt"})
    return folder


def read_with_safe_open(folder: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes as one reads them with safetensors."""
    shapes = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118 - it has no iterator
                shapes[key] = tuple(file.get_slice(key).get_shape())
    return shapes
