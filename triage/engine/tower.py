"""The vision tower of a checkpoint: what its weights weigh, and what running it really takes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from triage.engine._config import make_vllm_config
from triage.engine._dummy import describe_batch, make_batch, make_budget, make_processor
from triage.engine._probe import run_probe
from triage.engine.budget import DummyInput
from triage.engine.models import check_model_folder
from triage.errors import CheckpointError, InputError

# What published checkpoints call the part that sees: Qwen-VL; Gemma, LLaVA; CLIP, SigLIP, InternVL; Kimi, Phi.
_TOWER_NAMES = {"visual", "vision_tower", "vision_model", "vision_encoder", "vision_embed_tokens"}
_PROJECTOR_NAMES = {"multi_modal_projector", "mm_projector", "vision_projection"}
_ENCODER_NAMES = frozenset(_TOWER_NAMES | _PROJECTOR_NAMES)
_HEADER_MAX_BYTES = 100_000_000  # what safetensors allows
_BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "I16": 16}


class Attention(StrEnum):
    """How Transformers computes attention: a fused kernel without a score matrix, or the matrix itself."""

    FUSED = "sdpa"
    MATRIX = "eager"


class TowerWeights(BaseModel):
    """The tower's tensors in the checkpoint's headers. ``elements`` counts weights, ``size_bytes`` what is stored."""

    model_config = ConfigDict(frozen=True)

    names: tuple[str, ...]
    elements: int
    size_bytes: int

    @property
    def gated(self) -> bool:
        """Whether its feed-forward layers have a gate beside the up-projection."""
        return any("gate" in name for name in self.names)

    @property
    def positioned(self) -> bool:
        """Whether positions are learned vectors, added once, rather than rotations in every layer."""
        return any("pos_embed" in name or "position_embed" in name for name in self.names)


def read_tower_weights(model: Path) -> TowerWeights | None:
    """What the checkpoint's headers say of the vision tower and its projector; None where they name none.

    Reads headers only. Raises `CheckpointError` for a file that is no safetensors file.
    """
    names, elements, size_bytes = [], 0, 0
    for path in sorted(model.glob("*.safetensors")):
        for name, tensor in _read_header(path).items():
            if not _ENCODER_NAMES & set(name.split(".")):
                continue
            count = math.prod(tensor["shape"])
            names.append(name)
            elements += count
            size_bytes += count * _BITS.get(tensor["dtype"], 8) // 8
    return TowerWeights(names=tuple(names), elements=elements, size_bytes=size_bytes) if names else None


def _read_header(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, _HEADER_MAX_BYTES)))
            return {name: entry for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{path} is no safetensors file: {error}.", hint="Fetch the file again.") from error


class TowerRun(BaseModel):
    """One forward pass of Transformers' tower over a real dummy batch, on the CPU.

    ``peak_bytes`` is the most that live tensors held at any moment beside the weights and the inputs; ``operator`` is
    what was running then. ``output_bytes`` are part of it.
    """

    model_config = ConfigDict(frozen=True)

    modality: str
    attention: Attention
    dtype: str
    peak_bytes: int
    operator: str
    output_bytes: int
    weight_bytes: int
    inputs: tuple[DummyInput, ...]


def measure_tower(
    model: Path,
    *,
    modality: str | None = None,
    limits: Mapping[str, int] | None = None,
    args: Sequence[str] = (),
    attention: Attention = Attention.FUSED,
    timeout_s: float = 240.0,
) -> TowerRun:
    """Runs the tower through Transformers on the dummy batch that vLLM would profile, and counts its live tensors.

    In a process of its own, with the real weights, on the CPU: for small models. ``modality`` None takes the one that
    vLLM would; dtype, lengths and limits are those of the engine arguments.

    Raises `InputError` where nothing is profiled or Transformers has no such tower, else as `read_budget`.

    ::

        measure_tower(find_model("tiny:qwen25vl"), args=["--max-model-len", "4096"]).peak_bytes
    """
    check_model_folder(model)
    request = {
        "model": str(model),
        "modality": modality,
        "limits": dict(limits or {}),
        "args": list(args),
        "attention": attention.value,
    }
    return TowerRun.model_validate(run_probe(f"{__name__}:_answer", request, timeout_s=timeout_s))


def _answer(
    model: str, modality: str | None, limits: dict[str, int], args: list[str], attention: str
) -> dict[str, Any]:
    """The probe's side of `measure_tower`."""
    import torch
    from transformers import AutoModelForImageTextToText

    config = make_vllm_config(model, [*args, "--limit-mm-per-prompt", json.dumps(limits)])
    make_processor(config, limits)
    budget = make_budget(config)
    if modality is None and budget.mm_max_toks_per_item:
        modality = budget.get_modality_with_max_tokens()
    if modality not in budget.mm_max_toks_per_item:
        raise InputError(f"These limits let no {modality or 'modality'} through the encoder.", hint="Raise one.")
    batch = make_batch(budget, str(modality))
    dtype = config.model_config.dtype
    whole = AutoModelForImageTextToText.from_pretrained(model, dtype=dtype, attn_implementation=attention)
    encode = getattr(whole.model, f"get_{modality}_features", None)
    if encode is None:
        raise InputError(
            f"{type(whole).__name__} of Transformers has no get_{modality}_features to run.",
            hint="Measure another modality.",
        )
    held = [*whole.parameters(), *whole.buffers(), *batch.values()]
    given = {name: value for name, value in batch.items() if name.startswith(("pixel", "image", "video"))}
    with torch.no_grad():
        peak_bytes, operator, output = _count_live(lambda: encode(**given), held)
    tower = (weight for name, weight in whole.named_parameters() if _ENCODER_NAMES & set(name.split(".")))
    return {
        "modality": modality,
        "attention": attention,
        "dtype": str(dtype).removeprefix("torch."),
        "peak_bytes": peak_bytes,
        "operator": operator,
        "output_bytes": output,
        "weight_bytes": sum(weight.nbytes for weight in tower),
        "inputs": describe_batch(batch),
    }


def _count_live(call: Any, held: Sequence[Any]) -> tuple[int, str, int]:
    """Peak bytes of the storages that ``call`` makes, the operator at that moment, and the bytes left at the end."""
    import weakref

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Live(TorchDispatchMode):  # type: ignore[misc]
        """Adds each new storage when an operator returns it, and takes it off when its last tensor dies."""

        def __init__(self) -> None:
            super().__init__()
            self.known = {tensor.untyped_storage()._cdata for tensor in held}
            self.now = self.peak = 0
            self.operator = ""

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            for storage in _list_storages(result):
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.forget, storage._cdata, storage.nbytes())
                    if self.now > self.peak:
                        self.peak, self.operator = self.now, str(function)
            return result

        def forget(self, key: int, size_bytes: int) -> None:
            self.known.discard(key)
            self.now -= size_bytes

    def _list_storages(values: Any) -> Iterator[Any]:
        return (leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))

    with Live() as live:
        result = call()
        left = live.now
    del result
    return live.peak, live.operator, left
