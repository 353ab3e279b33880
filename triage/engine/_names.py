"""Where vLLM keeps the names that triage needs; it moves them between versions."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from triage.engine.versions import read_versions
from triage.errors import UnsupportedVersionError

# name -> modules that have held it, newest first
_HOMES: Mapping[str, tuple[str, ...]] = {
    # vLLM 0.33; 0.32; up to 0.28
    "make_arg_parser": (
        "vllm.entrypoints.common.cli_args",
        "vllm.entrypoints.launchers.cli_args",
        "vllm.entrypoints.openai.cli_args",
    ),
    "FlexibleArgumentParser": ("vllm.utils.argparse_utils", "vllm.utils"),
    "AsyncEngineArgs": ("vllm.engine.arg_utils",),
    "UsageContext": ("vllm.usage.usage_lib",),
    "MULTIMODAL_REGISTRY": ("vllm.multimodal",),
    # vLLM 0.18 and later; before that
    "MultiModalBudget": ("vllm.multimodal.encoder_budget", "vllm.v1.worker.utils"),
    "group_and_batch_mm_kwargs": ("vllm.multimodal.utils",),
    "environment_variables": ("vllm.envs",),
    "ModelRegistry": ("vllm.model_executor.models",),
}


def load_name(name: str, *, homes: Mapping[str, tuple[str, ...]] = _HOMES) -> Any:
    """The object of this name, from the first module of the installed vLLM that holds it.

    Raises `UnsupportedVersionError` where none does. Call `triage.engine.environment.prepare_import` before.

    >>> load_name("sqrt", homes={"sqrt": ("no_such_module", "math")})(9.0)
    3.0
    """
    for module in homes[name]:
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError) as error:
            # A module that vLLM itself misses is another trouble than a module of vLLM that moved.
            if isinstance(error, ModuleNotFoundError) and not module.startswith(str(error.name)):
                raise
    raise UnsupportedVersionError(
        f"vLLM {read_versions()['vllm']} keeps {name} in none of {', '.join(homes[name])}.",
        hint="Use a vLLM between 0.18 and 0.33, or add its new home to triage/engine/_names.py.",
    )
