"""The limits that cover what a test really sends, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from triage.encoder._plan import EncoderPlan
from triage.engine.budget import read_modalities
from triage.errors import InputError


def suggest_limits(model: Path | EncoderPlan, inputs: Mapping[str, int]) -> dict[str, int]:
    """The smallest ``limit_mm_per_prompt`` for a test that sends these items in its largest prompt.

    Every other modality that the model supports is set to 0: one that is left out counts as 999 for vLLM, and start-up
    profiling may take it (vLLM #42909). A plan answers at once; for a folder vLLM is asked (about 12 s).

    Raises `InputError` for a modality that the model does not have, and for more items than it takes.

    ::

        suggest_limits(find_model("tiny:qwen25vl"), {"image": 1})  # {"image": 1, "video": 0}
    """
    if isinstance(model, EncoderPlan):
        name, supported = model.model, {c.modality: c.supported for c in model.candidates}
    else:
        name, supported = model.name, read_modalities(model)
    if unknown := sorted(set(inputs) - set(supported)):
        raise InputError(
            f"{name} knows no modality {', '.join(map(repr, unknown))}; it knows {', '.join(sorted(supported))}.",
            hint="Mend the inputs.",
        )
    for modality, count in inputs.items():
        if count < 0:
            raise InputError(f"A test cannot send {count} {modality} items.", hint="Count from 0.")
        most = supported[modality]
        if most is not None and count > most:
            raise InputError(
                f"{name} takes at most {most} {modality} item(s) per prompt, not {count}.", hint="Send fewer."
            )
    return {modality: inputs.get(modality, 0) for modality in sorted(supported)}


def compare_suggestion(plan: EncoderPlan, inputs: Mapping[str, int]) -> pd.DataFrame:
    """One row for each modality: what the test sends, what the plan lets in, what `suggest_limits` would.

    The flag to copy stands in the last row.
    """
    suggested = suggest_limits(plan, inputs)
    rows: list[tuple[str, object, object, object]] = [
        (name, inputs.get(name, 0), plan.limit_of(name), limit) for name, limit in suggested.items()
    ]
    rows.append(("flag", "", show_flag(plan.limits_given), show_flag(suggested)))
    return pd.DataFrame(rows, columns=["modality", "sent", "limit", "suggested"])


def show_flag(limits: Mapping[str, int]) -> str:
    """The limits as an argument for a shell.

    >>> print(show_flag({"image": 1, "video": 0}))
    --limit-mm-per-prompt '{"image": 1, "video": 0}'
    """
    return f"--limit-mm-per-prompt '{json.dumps(dict(limits))}'"
