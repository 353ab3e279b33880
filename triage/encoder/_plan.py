"""The plan: which modality start-up profiling takes, how much of it, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from triage.engine.budget import Budget, DummyInput, read_budget
from triage.engine.models import read_revision


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One modality that profiling could take.

    ``limit`` is items per prompt as vLLM resolved it: 999 where none was given, 0 removes the modality. The other
    counts are 0 for a modality that does not pass through the encoder.
    """

    modality: str
    limit: int
    tokens_per_item: int
    items_per_prompt: int
    items_per_batch: int


@dataclass(frozen=True, kw_only=True)
class EncoderPlan:
    """What start-up profiling will push through the encoder: ``items`` of ``modality``, ``tokens_per_item`` each.

    ``modality`` is None, and the counts 0, where nothing passes through. ``encoder_budget`` is in tokens. ``inputs``
    are the real tensors of the dummy batch. ``limits_given`` is what the caller asked for, before vLLM's defaults.
    """

    model: str
    revision: str
    limits_given: Mapping[str, int]
    modality: str | None
    items: int
    tokens_per_item: int
    encoder_budget: int
    candidates: tuple[Candidate, ...]
    inputs: tuple[DummyInput, ...]
    profiling_skipped: bool
    dtype: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int

    @property
    def reason(self) -> str:
        """Why this modality, as one clause."""
        if self.profiling_skipped:
            return "profiling of the encoder is switched off (skip_mm_profiling)"
        if self.modality is None:
            return "every limit is 0, so nothing passes through the encoder"
        others = [c for c in self.candidates if c.limit and c.modality != self.modality]
        if not others:
            return f"{self.modality} is the only modality with a limit above 0"
        shown = ", ".join(f"{c.modality} {c.tokens_per_item}" for c in others)
        if tied := [c.modality for c in others if c.tokens_per_item == self.tokens_per_item]:
            shown = ", ".join(tied)
            return (
                f"{self.modality} ties with {shown} at {self.tokens_per_item} tokens per item, and a tie goes by name"
            )
        return f"{self.modality} has the most tokens per item: {self.tokens_per_item} against {shown}"

    def limit_of(self, modality: str) -> int | None:
        """The resolved limit of a modality; None for one that the model does not know."""
        return next((c.limit for c in self.candidates if c.modality == modality), None)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON; ``triage plan`` prints it."""
        return {
            "modality": self.modality,
            "items": self.items,
            "tokens_per_item": self.tokens_per_item,
            "encoder_budget": self.encoder_budget,
            "candidates": [vars(candidate).copy() for candidate in self.candidates],
            "reason": self.reason,
            "inputs": [tensor.model_dump(mode="json") for tensor in self.inputs],
            "limit_mm_per_prompt": dict(self.limits_given),
            "profiling_skipped": self.profiling_skipped,
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "model": self.model,
            "revision": self.revision,
        }


def plan_encoder(
    model: Path,
    *,
    limit_mm_per_prompt: Mapping[str, int] | None = None,
    max_model_len: int | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    model_impl: str | None = None,
    engine_args: Sequence[str] = (),
) -> EncoderPlan:
    """Asks the installed vLLM what its start-up profile would run for these engine arguments; starts no engine.

    An argument that is None is left to vLLM's default; lengths and batch sizes are in tokens. ``engine_args`` are
    further ones, as on the server's command line. Takes about 12 s, most of it importing vLLM.

    Raises `InputError` for a text-only model, an unknown modality, or arguments that vLLM refuses, and
    `UnsupportedVersionError` for a vLLM that keeps its encoder budget somewhere unknown.

    Upstream: ``vllm/multimodal/encoder_budget.py``.

    ::

        plan_encoder(find_model("tiny:qwen25vl"), limit_mm_per_prompt={"image": 1}, max_model_len=4096).modality
    """
    options = {
        "--max-model-len": max_model_len,
        "--max-num-seqs": max_num_seqs,
        "--max-num-batched-tokens": max_num_batched_tokens,
        "--model-impl": model_impl,
    }
    args = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    budget = read_budget(model, limits=limit_mm_per_prompt, args=[*args, *engine_args])
    return _make_plan(model, dict(limit_mm_per_prompt or {}), budget)


def _make_plan(model: Path, given: Mapping[str, int], budget: Budget) -> EncoderPlan:
    chosen = None if budget.profiling_skipped else budget.modality
    return EncoderPlan(
        model=model.name,
        revision=read_revision(model),
        limits_given=given,
        modality=chosen,
        items=budget.items_per_batch[chosen] if chosen else 0,
        tokens_per_item=budget.tokens_per_item[chosen] if chosen else 0,
        encoder_budget=budget.encoder_budget,
        candidates=tuple(
            Candidate(
                modality=modality,
                limit=limit,
                tokens_per_item=budget.tokens_per_item.get(modality, 0),
                items_per_prompt=budget.items_per_prompt.get(modality, 0),
                items_per_batch=budget.items_per_batch.get(modality, 0),
            )
            for modality, limit in sorted(budget.limits.items())
        ),
        inputs=budget.inputs if chosen else (),
        profiling_skipped=budget.profiling_skipped,
        dtype=budget.dtype,
        max_model_len=budget.max_model_len,
        max_num_seqs=budget.max_num_seqs,
        max_num_batched_tokens=budget.max_num_batched_tokens,
    )


def compare_plans(plans: Mapping[str, EncoderPlan]) -> pd.DataFrame:
    """One row for each setting and modality, in tokens and items; ``profiled`` marks what start-up profiling takes."""
    return pd.DataFrame(
        [
            {
                "setting": name,
                **vars(candidate),
                "profiled": candidate.modality == plan.modality,
                "encoder_budget": plan.encoder_budget,
            }
            for name, plan in plans.items()
            for candidate in plan.candidates
        ],
        columns=[
            "setting",
            "modality",
            "limit",
            "tokens_per_item",
            "items_per_prompt",
            "items_per_batch",
            "profiled",
            "encoder_budget",
        ],
    )


def compare_inputs(plans: Mapping[str, EncoderPlan]) -> pd.DataFrame:
    """One row for each tensor of each plan's dummy batch: its shape, dtype and size in bytes."""
    return pd.DataFrame(
        [
            {
                "setting": name,
                "modality": plan.modality,
                "tensor": tensor.name,
                "shape": " x ".join(map(str, tensor.shape)),
                "dtype": tensor.dtype,
                "size_bytes": tensor.size_bytes,
            }
            for name, plan in plans.items()
            for tensor in plan.inputs
        ],
        columns=["setting", "modality", "tensor", "shape", "dtype", "size_bytes"],
    )


def explain_plans(plans: Mapping[str, EncoderPlan]) -> str:
    """What each setting makes profiling do and why, a sentence each; also the alternative text of `plot_plans`."""
    return " ".join(
        f"{name}: nothing is profiled, because {plan.reason}."
        if plan.modality is None
        else f"{name}: profiling encodes {plan.items} {plan.modality} item(s) of {plan.tokens_per_item} tokens, "
        f"because {plan.reason}; the encoder budget is {plan.encoder_budget} tokens."
        for name, plan in plans.items()
    )
