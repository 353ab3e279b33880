"""The plan: which modality start-up profiling takes, how much of it, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage.encoder._activation import ELEMENT_BYTES, Activation, estimate_activation
from triage.engine.budget import Budget, DummyInput, read_budget
from triage.engine.history import VersionPair
from triage.engine.models import read_revision
from triage.engine.tower import TowerWeights, read_tower_weights


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One modality that profiling could take.

    ``limit`` is items per prompt as vLLM resolved it: 999 where none was given, 0 removes the modality. The other
    counts are 0 for a modality that does not pass through the encoder. ``supported`` is the most that the model itself
    takes, None where it sets no limit. ``inputs`` is the dummy batch that profiling would make of this modality, and
    ``activation`` what encoding it takes; None where there is no formula for the encoder.
    """

    modality: str
    limit: int
    tokens_per_item: int
    items_per_prompt: int
    items_per_batch: int
    supported: int | None = None
    inputs: tuple[DummyInput, ...] = ()
    activation: Activation | None = None

    @property
    def input_bytes(self) -> int:
        """The size of the dummy batch."""
        return sum(tensor.size_bytes for tensor in self.inputs)

    @property
    def activation_bytes(self) -> int | None:
        """The estimate with an attention that writes no matrix of scores; 0 where nothing is encoded."""
        if not self.items_per_batch:
            return 0
        return self.activation.size_bytes if self.activation else None

    def to_json(self) -> dict[str, Any]:
        """The candidate as plain JSON."""
        counts = {name: value for name, value in vars(self).items() if name not in {"inputs", "activation"}}
        return counts | {"input_bytes": self.input_bytes, "activation_bytes": self.activation_bytes}


@dataclass(frozen=True, kw_only=True)
class EncoderPlan:
    """What start-up profiling will push through the encoder: ``items`` of ``modality``, ``tokens_per_item`` each.

    ``modality`` is None, and the counts 0, where nothing passes through. ``encoder_budget`` is in tokens. ``inputs``
    are the real tensors of the dummy batch. ``limits_given`` is what the caller asked for, before vLLM's defaults.
    ``weight_bytes`` are the encoder's weights in ``dtype``, counted in the checkpoint's headers; None without them.
    ``versions`` names a historical pair that was asked; None for the installed one.
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
    weight_bytes: int | None = None
    versions: str | None = None

    @property
    def activation(self) -> Activation | None:
        """The estimate for what is profiled; None where nothing is, or no formula fits the encoder."""
        return next((c.activation for c in self.candidates if c.modality == self.modality), None)

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
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "reason": self.reason,
            "activation_bytes": self.activation.size_bytes if self.activation else None if self.modality else 0,
            "activation": self.activation.to_json() if self.activation else None,
            "weight_bytes": self.weight_bytes,
            "inputs": [tensor.model_dump(mode="json") for tensor in self.inputs],
            "limit_mm_per_prompt": dict(self.limits_given),
            "profiling_skipped": self.profiling_skipped,
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "model": self.model,
            "revision": self.revision,
            "versions": self.versions,
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
    versions: VersionPair | None = None,
) -> EncoderPlan:
    """Asks vLLM what its start-up profile would run for these engine arguments; starts no engine.

    An argument that is None is left to vLLM's default; lengths and batch sizes are in tokens. ``engine_args`` are
    further ones, as on the server's command line; ``versions`` is a historical pair to ask instead of the installed
    one. Takes about 12 s, most of it importing vLLM.

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
    budget = read_budget(model, limits=limit_mm_per_prompt, args=[*args, *engine_args], versions=versions)
    return _make_plan(model, dict(limit_mm_per_prompt or {}), budget, versions)


def _make_plan(model: Path, given: Mapping[str, int], budget: Budget, versions: VersionPair | None) -> EncoderPlan:
    chosen = None if budget.profiling_skipped else budget.modality
    tower = read_tower_weights(model)
    return EncoderPlan(
        model=model.name,
        revision=read_revision(model),
        limits_given=given,
        modality=chosen,
        items=budget.items_per_batch[chosen] if chosen else 0,
        tokens_per_item=budget.tokens_per_item[chosen] if chosen else 0,
        encoder_budget=budget.encoder_budget,
        candidates=tuple(_make_candidate(modality, budget, tower) for modality in sorted(budget.limits)),
        inputs=budget.batches[chosen] if chosen else (),
        profiling_skipped=budget.profiling_skipped,
        dtype=budget.dtype,
        max_model_len=budget.max_model_len,
        max_num_seqs=budget.max_num_seqs,
        max_num_batched_tokens=budget.max_num_batched_tokens,
        weight_bytes=tower.elements * ELEMENT_BYTES[budget.dtype] if tower and budget.dtype in ELEMENT_BYTES else None,
        versions=versions.label if versions else None,
    )


def _make_candidate(modality: str, budget: Budget, tower: TowerWeights | None) -> Candidate:
    inputs = budget.batches.get(modality, ())
    return Candidate(
        modality=modality,
        limit=budget.limits[modality],
        supported=budget.supported.get(modality),
        tokens_per_item=budget.tokens_per_item.get(modality, 0),
        items_per_prompt=budget.items_per_prompt.get(modality, 0),
        items_per_batch=budget.items_per_batch.get(modality, 0),
        inputs=inputs,
        activation=estimate_activation(inputs, encoder=budget.encoder, dtype=budget.dtype, tower=tower),
    )
