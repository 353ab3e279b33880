"""Plans side by side: tables and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from triage.encoder._activation import ASSUMPTIONS
from triage.encoder._plan import EncoderPlan

_CANDIDATE_COLUMNS = ("limit", "tokens_per_item", "items_per_prompt", "items_per_batch")


def compare_plans(plans: Mapping[str, EncoderPlan]) -> pd.DataFrame:
    """One row for each setting and modality, in tokens and items; ``profiled`` marks what start-up profiling takes.

    ``activation_bytes`` is the estimate for a batch of that modality, missing where there is no formula.
    """
    return pd.DataFrame(
        [
            {
                "setting": name,
                "modality": candidate.modality,
                "profiled": candidate.modality == plan.modality,
                **{column: getattr(candidate, column) for column in _CANDIDATE_COLUMNS},
                "encoder_budget": plan.encoder_budget,
                "activation_bytes": candidate.activation_bytes,
            }
            for name, plan in plans.items()
            for candidate in plan.candidates
        ],
        columns=["setting", "modality", "profiled", *_CANDIDATE_COLUMNS, "encoder_budget", "activation_bytes"],
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


def compare_activations(plans: Mapping[str, EncoderPlan]) -> pd.DataFrame:
    """One row for each setting that profiles something: the bytes of inputs, weights and activations, and the formula.

    ``without_flash_bytes`` is what the activations come to where the attention writes its matrix of scores.
    """
    rows = []
    for name, plan in plans.items():
        if (activation := plan.activation) is None:
            continue
        symbols = ", ".join(f"{symbol}={value}" for symbol, value in activation.symbols.items())
        rows.append(
            {
                "setting": name,
                "modality": plan.modality,
                "input_bytes": sum(tensor.size_bytes for tensor in plan.inputs),
                "weight_bytes": plan.weight_bytes,
                "activation_bytes": activation.size_bytes,
                "without_flash_bytes": max(activation.size_bytes, activation.score_bytes),
                "stage": activation.stage,
                "formula": activation.formula,
                "where": symbols,
            }
        )
    columns = ["setting", "modality", "input_bytes", "weight_bytes", "activation_bytes", "without_flash_bytes"]
    return pd.DataFrame(rows, columns=[*columns, "stage", "formula", "where"])


def explain_activation(plan: EncoderPlan) -> str:
    """The estimate, its formula and what it assumes, in words."""
    if plan.modality is None:
        return f"Nothing is encoded, because {plan.reason}."
    if (activation := plan.activation) is None:
        return f"There is no formula for the {plan.modality} encoder of {plan.model}: only its input sizes are known."
    symbols = ", ".join(f"{symbol}={value}" for symbol, value in activation.symbols.items())
    return (
        f"Encoding the dummy batch takes about {show_bytes(activation.size_bytes)} in its {activation.stage} stage: "
        f"{activation.formula} with {symbols}. Where the attention writes its matrix of scores, "
        f"{show_bytes(max(activation.size_bytes, activation.score_bytes))}. Assumed: {'; '.join(ASSUMPTIONS)}."
    )


def diff_plans(before: EncoderPlan, after: EncoderPlan) -> dict[str, Any]:
    """What changes from one plan to another: ``{field: [before, after]}``, the limits of each modality included."""
    fields = ("modality", "items", "tokens_per_item", "encoder_budget", "activation_bytes")
    sides = [plan.to_json() for plan in (before, after)]
    for side in sides:
        side |= {f"limit of {candidate['modality']}": candidate["limit"] for candidate in side["candidates"]}
        side["input_bytes"] = sum(tensor["size_bytes"] for tensor in side["inputs"])
    limits = sorted({name for side in sides for name in side if name.startswith("limit of ")})
    pairs = {name: [side.get(name) for side in sides] for name in (*fields, "input_bytes", *limits)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def explain_difference(before: EncoderPlan, after: EncoderPlan) -> str:
    """The difference between two plans as a sentence."""
    changed = diff_plans(before, after)
    if not changed:
        return "Both settings profile the same."
    if before.modality is None or after.modality is None:
        return (
            f"{_name_load(before).capitalize()} becomes {_name_load(after)}: "
            f"{(after if after.modality is None else before).reason}."
        )
    words = f"{_name_load(before)} {'becomes' if 'modality' in changed or 'items' in changed else 'stays, as'} "
    words += _name_load(after)
    if "tokens_per_item" not in changed and "items" not in changed and "modality" in changed:
        words += "; the kind of tensor changes, not the number of tokens"
    if (pair := changed.get("activation_bytes")) and None not in pair and pair[1]:
        words += f"; activations go from about {show_bytes(pair[0])} to {show_bytes(pair[1])}"
    return words[0].upper() + words[1:] + "."


def _name_load(plan: EncoderPlan) -> str:
    if plan.modality is None:
        return "nothing"
    return f"{plan.items} {plan.modality} item(s) of {plan.tokens_per_item} tokens"


def show_bytes(size_bytes: int) -> str:
    """A size for people.

    >>> show_bytes(41_489_972)
    '39.6 MiB'
    """
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.{0 if unit == 'B' else 1}f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
