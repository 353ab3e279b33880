"""vLLM's registry of environment variables: every name with its default, its value, and whether it is set.

Upstream: ``environment_variables`` in ``vllm/envs.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from triage.engine._probe import ask_process
from triage.errors import MissingDependencyError, UnsupportedVersionError
from triage.redaction import redact_json

_PROBE = Path(__file__).with_name("probes") / "variable_registry.py"


@dataclass(frozen=True, kw_only=True)
class RegisteredVariable:
    """What vLLM reads from one variable: without it (``default``) and here (``value``), as JSON."""

    default: Any
    value: Any
    is_set: bool


def read_registry(
    *, environ: Mapping[str, str] | None = None, timeout_s: float = 30.0
) -> dict[str, RegisteredVariable]:
    """Every variable that the installed vLLM knows, read by vLLM's own functions, in a child.

    ``environ`` is the environment that is asked about, this process's without it. The file ``vllm/envs.py`` is run by
    itself: neither vLLM nor torch is imported, which takes a twentieth of the time. The few functions that would need
    them say so in place of their value. Values are redacted.

    Raises `MissingDependencyError` without vLLM, `UnsupportedVersionError` where its registry has moved.
    """
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "vLLM is not installed in this Python.", hint="Run `make setup`, or use the Python of a vLLM ROCm image."
        )
    file = Path(spec.origin).with_name("envs.py")
    if not file.is_file():
        raise UnsupportedVersionError(
            "This vLLM has no vllm/envs.py.",
            hint="Use a vLLM between 0.18 and 0.33, or mend triage/engine/registry.py.",
        )
    answer = ask_process(
        [sys.executable, str(_PROBE)],
        {"file": str(file)},
        env=dict(os.environ if environ is None else environ),
        timeout_s=timeout_s,
        subject="The child that reads vLLM's variables",
        hint="Try `python -c 'import vllm.envs'` in the same environment.",
    )
    return {
        name: RegisteredVariable(
            default=redact_json(row["default"], name=name),
            value=redact_json(row["value"], name=name),
            is_set=row["is_set"],
        )
        for name, row in answer.items()
    }
