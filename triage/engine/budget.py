"""vLLM's own answer to: what will start-up profiling push through the multimodal encoder?

Upstream: ``vllm/multimodal/encoder_budget.py`` (MultiModalBudget) and ``profile_run`` of the model runner, which
takes one modality, the one with the most tokens per item, and encodes a batch of its dummy items.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from triage.engine._config import make_vllm_config
from triage.engine._dummy import describe_batch, describe_encoder, make_batch, make_budget, make_processor
from triage.engine._probe import run_probe
from triage.engine.environment import Platform, read_platform
from triage.engine.history import VersionPair
from triage.engine.models import check_model_folder
from triage.errors import InputError


class DummyInput(BaseModel):
    """One tensor of the batch that profiling hands to the encoder.

    ``values`` are those of a small tensor of whole numbers, flattened: the grids that say how patches form images.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int
    values: tuple[int, ...] | None = None


class Budget(BaseModel):
    """vLLM's encoder budget for one model and one set of engine arguments.

    ``limits`` are the items per prompt by modality, as vLLM resolved them (999 is its default, 0 removes the
    modality). ``tokens_per_item`` and the two item counts hold only modalities that pass through the encoder.
    ``modality`` is None where nothing does. ``supported`` are the most items per prompt that the model itself takes,
    None without such a limit. ``batches`` holds the whole dummy batch of each of these modalities, as profiling would
    make it if it took that one. ``encoder`` are the sizes that the model's vision configuration states.
    """

    model_config = ConfigDict(frozen=True)

    limits: dict[str, int]
    tokens_per_item: dict[str, int]
    items_per_prompt: dict[str, int]
    items_per_batch: dict[str, int]
    encoder_budget: int
    modality: str | None
    supported: dict[str, int | None] = Field(default_factory=dict)
    batches: dict[str, tuple[DummyInput, ...]]
    encoder: dict[str, int | float | str] = Field(default_factory=dict)
    profiling_skipped: bool
    dtype: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int


def read_budget(
    model: Path,
    *,
    limits: Mapping[str, int] | None = None,
    args: Sequence[str] = (),
    versions: VersionPair | None = None,
    timeout_s: float = 240.0,
) -> Budget:
    """Asks vLLM, in a process of its own; needs no worker, no weights and no GPU.

    ``limits`` is what goes to ``--limit-mm-per-prompt``; ``args`` are further arguments of the server's command line.
    ``versions`` asks a historical pair instead of the installed one (run with vLLM 0.21, 0.23, 0.24, 0.28 and 0.32).

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
    answer = run_probe(f"{__name__}:_answer", request, env=list_overrides(versions), timeout_s=timeout_s)
    return Budget.model_validate(answer)


def read_modalities(model: Path, *, args: Sequence[str] = (), timeout_s: float = 240.0) -> dict[str, int | None]:
    """The modalities that the model supports, with the most items per prompt that it takes; None without a limit.

    Raises what `read_budget` raises.
    """
    check_model_folder(model)
    request = {"model": str(model), "args": list(args)}
    found: dict[str, int | None] = run_probe(f"{__name__}:_answer_modalities", request, timeout_s=timeout_s)
    return found


def list_overrides(versions: VersionPair | None) -> dict[str, str]:
    """The variables that make a probe import this pair; none for the installed one."""
    if versions is None:
        return {}
    found = {"PYTHONPATH": versions.environment()["PYTHONPATH"]}
    if read_platform() is Platform.CPU:
        found["VLLM_TARGET_DEVICE"] = "cpu"  # a checkout has no distribution whose version would say so
    return found


def _answer(model: str, limits: dict[str, int], args: list[str]) -> dict[str, Any]:
    """The probe's side of `read_budget`."""
    config = make_vllm_config(model, [*args, "--limit-mm-per-prompt", json.dumps(limits)])
    model_config, scheduler = config.model_config, config.scheduler_config
    info = make_processor(config, limits).info
    answer: dict[str, Any] = {
        "limits": dict(info.allowed_mm_limits),
        "supported": dict(info.supported_mm_limits),
        "tokens_per_item": {},
        "items_per_prompt": {},
        "items_per_batch": {},
        "encoder_budget": 0,
        "modality": None,
        "batches": {},
        "encoder": describe_encoder(config),
        "profiling_skipped": bool(getattr(model_config.multimodal_config, "skip_mm_profiling", False)),
        "dtype": str(model_config.dtype).removeprefix("torch."),
        "max_model_len": model_config.max_model_len,
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
    }
    if not any(answer["limits"].values()):  # vLLM then runs text-only and builds no budget
        return answer
    budget = make_budget(config)
    answer |= {
        "tokens_per_item": dict(budget.mm_max_toks_per_item),
        "items_per_prompt": dict(budget.mm_max_items_per_prompt),
        "items_per_batch": dict(budget.mm_max_items_per_batch),
        "encoder_budget": budget.get_encoder_budget(),
    }
    if budget.mm_max_toks_per_item and budget.get_encoder_budget() > 0:
        answer |= {
            "modality": budget.get_modality_with_max_tokens(),
            "batches": {name: describe_batch(make_batch(budget, name)) for name in budget.mm_max_toks_per_item},
        }
    return answer


def _answer_modalities(model: str, args: list[str]) -> dict[str, int | None]:
    return dict(make_processor(make_vllm_config(model, args), {}).info.supported_mm_limits)
