"""Find out why a vLLM test is red on AMD ROCm, and prove that a fix works before it goes upstream.

The public names load on first use, so that ``import triage`` is quick and needs neither torch nor vLLM.

>>> import triage
>>> triage.Verdict.REPRODUCED.conclusive
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triage.cases import Case, read_case, read_cases
    from triage.errors import TriageError
    from triage.result import Arm, Evidence, Family, Result, Verdict

__version__: str

_HOME = {
    "Arm": "result",
    "Case": "cases",
    "Evidence": "result",
    "Family": "result",
    "Result": "result",
    "TriageError": "errors",
    "Verdict": "result",
    "read_case": "cases",
    "read_cases": "cases",
}

__all__ = [
    "Arm",
    "Case",
    "Evidence",
    "Family",
    "Result",
    "TriageError",
    "Verdict",
    "__version__",
    "read_case",
    "read_cases",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata  # reads the e-mail package in: 50 ms that a watched command need not wait for

        return metadata.version("triage")
    if name in _HOME:
        return getattr(import_module(f"triage.{_HOME[name]}"), name)
    raise AttributeError(f"module 'triage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
