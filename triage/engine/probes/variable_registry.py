"""Run as ``python variable_registry.py REQUEST ANSWER``: vLLM's registry of variables, by its own functions.

``vllm/envs.py`` is executed as a module by itself, and what would import vLLM or torch from it is refused: that is a
matter of seconds, and of a GPU.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Other in every process, and telling nothing.
_RANDOM = frozenset({"VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME"})
_KEPT = ("PATH", "HOME", "USER", "TMPDIR", "LANG")


def main(asked: str, answered: str) -> None:
    """Asks every function twice: with the environment as it is, and with an empty one."""
    spec = importlib.util.spec_from_file_location("envs", json.loads(Path(asked).read_text())["file"])
    if spec is None or spec.loader is None:
        sys.exit("no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # some of its functions look themselves up
    spec.loader.exec_module(module)
    for name in ("vllm", "torch"):
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to refuse an import
    registry: dict[str, Callable[[], Any]] = dict(module.environment_variables)
    whole = dict(os.environ)
    values = {name: read(function) for name, function in registry.items() if name not in _RANDOM}
    os.environ.clear()
    os.environ.update({name: whole[name] for name in _KEPT if name in whole})
    rows = {
        name: {"default": read(registry[name]), "value": values[name], "is_set": name in whole}
        for name in sorted(values)
    }
    Path(answered).write_text(json.dumps(rows))


def read(function: Callable[[], Any]) -> Any:
    """The value as JSON, or why there is none: some functions look for devices, some refuse what is set."""
    try:
        return simplify(function())
    except ImportError:
        return "(needs vLLM itself)"
    except Exception as error:  # noqa: BLE001 - one of 300 functions of vLLM's must not take the others with it
        return f"({type(error).__name__}: {error})"


def simplify(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): simplify(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [simplify(held) for held in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    return str(value)


if __name__ == "__main__":
    main(*sys.argv[1:3])
