"""The shared libraries that torch really brings into a process here, with their versions and build ids.

Two boxes of the same image may map other libraries: ``LD_LIBRARY_PATH``, a wheel's own copy, a ROCm beside another.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from triage.engine._probe import ask_process
from triage.engine.environment import engine_environment
from triage.errors import InputError, MissingDependencyError

_PROBE = Path(__file__).with_name("probes") / "mapped_libraries.py"


@dataclass(frozen=True, kw_only=True)
class Library:
    """A mapped file. ``build_id`` is the linker's, in hexadecimal; None where the file has none.

    ``version`` is what the library itself says (rocBLAS, MIOpen, RCCL), else the end of its file's name.
    """

    version: str | None
    build_id: str | None
    path: str


def read_libraries(*, pid: int | None = None, with_import: bool = False, timeout_s: float = 60.0) -> dict[str, Library]:
    """The libraries of a process by name (``librocblas.so``), in a child of its own.

    Of ``pid`` where it is given. Else of a child that loads torch's libraries through the dynamic loader, as
    ``import torch`` does but without Python's part of it; ``with_import`` imports torch and vLLM for good, which takes
    seconds.

    Raises `InputError` where the process is gone or may not be read, `MissingDependencyError` without torch, and
    `EngineError` where the child dies.
    """
    env = engine_environment() if find_spec("torch") else {}
    request = {"pid": pid, "with_import": with_import, "load": [] if pid or with_import else _list_roots()}
    answer = ask_process(
        [sys.executable, str(_PROBE)],
        request,
        env=env,
        timeout_s=timeout_s,
        subject="The child that maps torch's libraries",
        hint="Try `python -c 'import torch'` in the same environment.",
    )
    if "error" in answer:
        raise InputError(answer["error"], hint="Name a running process of your own: triage env --pid PID.")
    return {name: Library(**fields) for name, fields in answer["libraries"].items()}


def _list_roots() -> list[str]:
    """What ``import torch`` loads first; everything else is linked to it."""
    spec = find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "torch is not installed.", hint="On this machine run `make setup`; on a ROCm node use the image's Python."
        )
    folder = Path(spec.submodule_search_locations[0], "lib")
    return [str(path) for name in ("libtorch_global_deps.so", "libtorch_python.so") if (path := folder / name).exists()]
