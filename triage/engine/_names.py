"""Where vLLM keeps the names that triage needs; it moves them between versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
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


def find_missing_names(*, homes: Mapping[str, tuple[str, ...]] = _HOMES) -> list[str]:
    """The names that none of their homes defines or imports, by the text of the installed vLLM's files.

    >>> find_missing_names(homes={"no_such_name": ("vllm.envs",)})
    ['no_such_name']
    """
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        return sorted(homes)
    root = Path(spec.origin).parents[1]
    return sorted(
        name for name, modules in homes.items() if not any(_defines(root, module, name) for module in modules)
    )


def _defines(root: Path, module: str, name: str) -> bool:
    place = root.joinpath(*module.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if re.search(
            rf"^(?:class|def) {name}\b|^{name}\b\s*[:=]|^\s+\"?{name}\b|^from .* import .*\b{name}\b", text, re.M
        ):
            return True
    return False
