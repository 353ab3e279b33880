"""vLLM's own answer to: what will start-up profiling push through the multimodal encoder?

Upstream: ``vllm/multimodal/encoder_budget.py`` (MultiModalBudget) and ``profile_run`` of the model runner, which
takes one modality, the one with the most tokens per item, and encodes a batch of its dummy items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from triage.engine._config import make_vllm_config
from triage.engine._names import load_name
from triage.engine._probe import run_probe
from triage.engine.models import check_model_folder
from triage.errors import InputError


class DummyInput(BaseModel):
    """One tensor of the batch that profiling hands to the encoder."""

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int


class Budget(BaseModel):
    """vLLM's encoder budget for one model and one set of engine arguments.

    ``limits`` are the items per prompt by modality, as vLLM resolved them (999 is its default, 0 removes the
    modality). ``tokens_per_item`` and the two item counts hold only modalities that pass through the encoder.
    ``modality`` is None where nothing does. ``inputs`` is the whole dummy batch, ``items`` of that modality.
    """

    model_config = ConfigDict(frozen=True)

    limits: dict[str, int]
    tokens_per_item: dict[str, int]
    items_per_prompt: dict[str, int]
    items_per_batch: dict[str, int]
    encoder_budget: int
    modality: str | None
    inputs: tuple[DummyInput, ...]
    profiling_skipped: bool
    dtype: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int


def read_budget(
    model: Path, *, limits: Mapping[str, int] | None = None, args: Sequence[str] = (), timeout_s: float = 240.0
) -> Budget:
    """Asks the installed vLLM, in a process of its own; needs no worker, no weights and no GPU.

    ``limits`` is what goes to ``--limit-mm-per-prompt``; ``args`` are further arguments of the server's command line.

    Raises `InputError` for a text-only model, for a modality that the model does not know, and for arguments that
    vLLM refuses; `UnsupportedVersionError` where this vLLM keeps its budget somewhere unknown.

    ::

        read_budget(find_model("tiny:qwen25vl"), limits={"image": 1}, args=["--max-model-len", "4096"]).modality
    """
    check_model_folder(model)
    given = dict(limits or {})
    if wrong := sorted(name for name, limit in given.items() if limit < 0):
        raise InputError(
            f"A limit per prompt cannot be negative: {', '.join(f'{n}={given[n]}' for n in wrong)}.",
            hint="0 removes a modality.",
        )
    request = {"model": str(model), "limits": given, "args": list(args)}
    return Budget.model_validate(run_probe(f"{__name__}:_answer", request, timeout_s=timeout_s))


def _answer(model: str, limits: dict[str, int], args: list[str]) -> dict[str, Any]:
    """The probe's side of `read_budget`."""
    import json

    config = make_vllm_config(model, [*args, "--limit-mm-per-prompt", json.dumps(limits)])
    model_config, scheduler = config.model_config, config.scheduler_config
    if not model_config.is_multimodal_model:
        raise InputError(
            f"{Path(model).name} ({', '.join(model_config.architectures)}) has no multimodal encoder.",
            hint="Name a model that takes images, video or audio.",
        )
    registry = load_name("MULTIMODAL_REGISTRY")
    allowed = dict(registry.create_processor(model_config).info.allowed_mm_limits)
    if unknown := sorted(set(limits) - set(allowed)):
        raise InputError(
            f"{Path(model).name} knows no modality {', '.join(map(repr, unknown))}; "
            f"it knows {', '.join(sorted(allowed))}.",
            hint="Mend limit_mm_per_prompt.",
        )
    answer: dict[str, Any] = {
        "limits": allowed,
        "tokens_per_item": {},
        "items_per_prompt": {},
        "items_per_batch": {},
        "encoder_budget": 0,
        "modality": None,
        "inputs": [],
        "profiling_skipped": bool(getattr(model_config.multimodal_config, "skip_mm_profiling", False)),
        "dtype": str(model_config.dtype).removeprefix("torch."),
        "max_model_len": model_config.max_model_len,
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
    }
    if not any(allowed.values()):  # vLLM then runs text-only and builds no budget
        return answer
    budget = load_name("MultiModalBudget")(config, registry)
    answer |= {
        "tokens_per_item": dict(budget.mm_max_toks_per_item),
        "items_per_prompt": dict(budget.mm_max_items_per_prompt),
        "items_per_batch": dict(budget.mm_max_items_per_batch),
        "encoder_budget": budget.get_encoder_budget(),
    }
    if budget.mm_max_toks_per_item and budget.get_encoder_budget() > 0:
        modality = budget.get_modality_with_max_tokens()
        items = budget.mm_max_items_per_batch[modality]
        answer |= {"modality": modality, "inputs": _describe_batch(_make_dummy_item(budget, modality), modality, items)}
    return answer


def _make_dummy_item(budget: Any, modality: str) -> Any:
    """One dummy item, as ``profile_run`` makes it."""
    counts = {modality: 1}
    if hasattr(budget.processor, "get_dummy_mm_inputs"):  # vLLM 0.32 and later
        inputs = budget.processor.get_dummy_mm_inputs(mm_counts=counts)
    else:
        registry = load_name("MULTIMODAL_REGISTRY")
        inputs = registry.get_dummy_mm_inputs(budget.model_config, mm_counts=counts, processor=budget.processor)
    return inputs["mm_kwargs"][modality][0]


def _describe_batch(item: Any, modality: str, items: int) -> list[dict[str, Any]]:
    batches = load_name("group_and_batch_mm_kwargs")([(modality, item)] * items, device="cpu", pin_memory=False)
    *_, batch = next(iter(batches))
    return [
        {
            "name": name,
            "shape": list(value.shape),
            "dtype": str(value.dtype).removeprefix("torch."),
            "size_bytes": value.nbytes,
        }
        for name, value in sorted(batch.items())
        if hasattr(value, "nbytes")
    ]
