"""The float64 reference for embeddings: the same checkpoint, run by Transformers, pooled as the server pools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triage.engine._probe import run_probe
from triage.engine.models import check_model_folder
from triage.errors import InputError

_GRITLM = "GritLM"


def embed_in_float64(
    model: Path, texts: Sequence[str], *, instructions: Sequence[str], timeout_s: float = 240.0
) -> tuple[tuple[float, ...], ...]:
    """One vector for each text: Transformers in float64 on the CPU, mean of the last hidden states, not normalised.

    ``instructions`` are the leading part of each text, "" for none; the architecture GritLM leaves their tokens and
    the first special token out of the mean, any other counts them. Attention is bidirectional for GritLM and where
    the config says ``is_causal: false``, as in vLLM.

    Raises `InputError` for a model that Transformers does not know.
    """
    check_model_folder(model)
    request = {"model": str(model), "texts": list(texts), "instructions": list(instructions)}
    return tuple(tuple(row) for row in run_probe(f"{__name__}:_answer", request, timeout_s=timeout_s))


def _answer(model: str, texts: list[str], instructions: list[str]) -> list[list[float]]:
    """The probe's side of `embed_in_float64`."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(model)
        network = AutoModel.from_pretrained(model, dtype=torch.float64, attn_implementation="eager").eval()
    except ValueError as error:
        raise InputError(f"Transformers cannot load {model}: {error}", hint="Name another model.") from error
    tokenizer = AutoTokenizer.from_pretrained(model)
    masks_instruction = _GRITLM in (config.architectures or ())
    bidirectional = masks_instruction or getattr(config, "is_causal", True) is False
    rows = []
    for text, instruction in zip(texts, instructions, strict=True):
        ids = tokenizer(text, return_tensors="pt").input_ids
        first = len(tokenizer(instruction).input_ids) if masks_instruction else 0
        length = ids.shape[1]
        # A 4-d mask is taken as it is: zeros let every token see every other.
        mask: Any = torch.zeros(1, 1, length, length, dtype=torch.float64) if bidirectional else None
        with torch.inference_mode():
            states = network(input_ids=ids, attention_mask=mask).last_hidden_state[0]
        rows.append(states[first:].mean(dim=0).tolist())
    return rows
