"""vLLM's encoder budget and the dummy batch that profiling makes from it; runs inside a probe process only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triage.engine._names import load_name
from triage.engine.versions import read_versions
from triage.errors import CheckpointError, InputError, UnsupportedVersionError

_VALUES_SHOWN = 64  # grids are this small, pixels never


def make_processor(config: Any, limits: Mapping[str, int]) -> Any:
    """The model's own multimodal processor, where it has one and knows every modality of ``limits``."""
    model_config = config.model_config
    name = Path(model_config.model).name
    if not model_config.is_multimodal_model:
        raise InputError(
            f"{name} ({', '.join(model_config.architectures)}) has no multimodal encoder.",
            hint="Name a model that takes images, video or audio.",
        )
    try:
        processor = load_name("MULTIMODAL_REGISTRY").create_processor(model_config)
        known = processor.info.allowed_mm_limits
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise _blame_model(config, "cannot be built", error) from error
    if unknown := sorted(set(limits) - set(known)):
        raise InputError(
            f"{name} knows no modality {', '.join(map(repr, unknown))}; it knows {', '.join(sorted(known))}.",
            hint="Mend limit_mm_per_prompt.",
        )
    return processor


def _blame_model(config: Any, what: str, error: Exception) -> CheckpointError:
    words = " ".join(line.strip() for line in str(error).splitlines()[:2]).rstrip(".")
    return CheckpointError(
        f"The multimodal processor of {Path(config.model_config.model).name} {what}: {type(error).__name__}: {words}.",
        hint="Its processor and tokenizer files must be whole and fit this vLLM; fetch them again.",
    )


def make_budget(config: Any) -> Any:
    """vLLM's ``MultiModalBudget``, with every name on it that triage reads.

    Raises `UnsupportedVersionError` where this version of vLLM keeps one of them elsewhere.
    """
    make, registry = load_name("MultiModalBudget"), load_name("MULTIMODAL_REGISTRY")
    try:
        budget = make(config, registry)
    except (ValueError, OSError, KeyError) as error:
        raise _blame_model(config, "does not make a dummy batch", error) from error
    read = ("mm_max_toks_per_item", "mm_max_items_per_prompt", "mm_max_items_per_batch", "processor")
    asked = ("get_encoder_budget", "get_modality_with_max_tokens")
    if missing := [name for name in read + asked if not hasattr(budget, name)]:
        raise UnsupportedVersionError(
            f"The MultiModalBudget of vLLM {read_versions()['vllm']} has no {', '.join(missing)}.",
            hint="Use a vLLM between 0.18 and 0.33, or teach triage/engine/_dummy.py the new names.",
        )
    return budget


def make_batch(budget: Any, modality: str) -> dict[str, Any]:
    """The tensors that ``profile_run`` hands to the encoder for this modality: one dummy item, repeated."""
    counts = {modality: 1}
    if hasattr(budget.processor, "get_dummy_mm_inputs"):  # vLLM 0.32 and later
        inputs = budget.processor.get_dummy_mm_inputs(mm_counts=counts)
    else:
        registry = load_name("MULTIMODAL_REGISTRY")
        inputs = registry.get_dummy_mm_inputs(budget.model_config, mm_counts=counts, processor=budget.processor)
    item = inputs["mm_kwargs"][modality][0]
    items = budget.mm_max_items_per_batch[modality]
    batches = load_name("group_and_batch_mm_kwargs")([(modality, item)] * items, device="cpu", pin_memory=False)
    *_, batch = next(iter(batches))
    return {name: value for name, value in sorted(batch.items()) if hasattr(value, "nbytes")}


def describe_batch(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tensors of a batch as JSON."""
    return [
        {
            "name": name,
            "shape": list(value.shape),
            "dtype": str(value.dtype).removeprefix("torch."),
            "size_bytes": value.nbytes,
            "values": _list_values(value),
        }
        for name, value in batch.items()
    ]


def _list_values(tensor: Any) -> list[int] | None:
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    return tensor.flatten().tolist() if whole and tensor.numel() <= _VALUES_SHOWN else None


def describe_encoder(config: Any) -> dict[str, Any]:
    """The sizes that the model's own vision configuration states, with what its class fills in."""
    vision = getattr(config.model_config.hf_config, "vision_config", None)
    if vision is None:
        return {}
    sizes = vision if isinstance(vision, dict) else vision.to_dict()
    return {name: value for name, value in sizes.items() if isinstance(value, int | float | str)}
