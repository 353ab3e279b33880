"""Which model stands in for GritLM."""

from __future__ import annotations

from pathlib import Path

from triage.engine.models import find_model
from triage.engine.resolved import list_architectures

_GRITLM = "GritLM"


def choose_model(reference: str) -> tuple[Path, str]:
    """The folder of a model and a sentence on what it is.

    ``auto`` asks vLLM's registry: a tiny GritLM where the installed version has that architecture, else a Mistral
    with mean pooling. Any other reference is looked up as it is (see `triage.engine.models.find_model`).
    """
    if reference != "auto":
        return find_model(reference), f"The model is {reference}."
    if _GRITLM in list_architectures():
        return find_model("tiny:gritlm"), (
            "The installed vLLM has the GritLM architecture: a tiny GritLM is served, whose pooler leaves the tokens "
            "of the instruction out of the mean."
        )
    return find_model("tiny:gritlm-mistral"), (
        "The installed vLLM no longer has the GritLM architecture: a tiny bidirectional Mistral with mean pooling is "
        "served in its place. GritLM leaves the tokens of the instruction out of the mean; here they count, in the "
        "server and in the reference alike."
    )
