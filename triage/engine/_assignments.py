"""Which line of vLLM filled in a default: every assignment to its arguments and configs while it resolves them.

Runs inside a probe process only.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from triage.engine._names import load_name

Sources = dict[tuple[int, str], str]


@contextmanager
def trace_assignments() -> Iterator[Sources]:
    """Collects, by object and field, the place in vLLM that assigned a field last: ``engine/arg_utils.py:2999 name``.

    What a generated ``__init__`` stores is no such place: those are literal defaults, or what was given.
    """
    sources: Sources = {}
    kept: list[Any] = []  # an id is one object's only while that object lives
    originals = {kind: kind.__setattr__ for kind in _list_kinds()}
    for kind, original in originals.items():
        kind.__setattr__ = _make_setter(original, sources, kept)
    try:
        yield sources
    finally:
        for kind, original in originals.items():
            kind.__setattr__ = original


def _list_kinds() -> list[Any]:
    """vLLM's classes of arguments and configuration."""
    import vllm.config

    kinds = {load_name("AsyncEngineArgs").__mro__[1], load_name("AsyncEngineArgs")}
    for module in [m for name, m in sys.modules.items() if name.startswith("vllm.config")]:
        kinds |= {k for k in vars(module).values() if isinstance(k, type) and dataclasses.is_dataclass(k)}
    return [kind for kind in kinds if kind.__module__.startswith("vllm.") and vllm.config is not None]


def _make_setter(original: Any, sources: Sources, kept: list[Any]) -> Any:
    def assign(self: Any, name: str, value: Any) -> None:
        before = getattr(self, name, None)
        original(self, name, value)
        place = _find_place(sys._getframe(1))
        if place is not None and _differs(before, value):
            sources[id(self), name] = place
            kept.append(self)

    return assign


def _differs(before: Any, value: Any) -> bool:
    try:
        return bool(before is not value and before != value)
    except (ValueError, TypeError, RuntimeError):  # tensors and the like
        return before is not value


def _find_place(frame: FrameType | None) -> str | None:
    """The nearest caller within vLLM, unless that is a generated ``__init__``."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<") and frame.f_code.co_name == "__init__":
            return None
        _, found, inner = file.partition(f"site-packages{Path('/')}vllm/")
        if not found:
            _, found, inner = file.rpartition("/vllm/")
        if found and inner.endswith(".py"):
            return f"vllm/{inner}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return None
