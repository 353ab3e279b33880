"""Questions to vLLM that are answered in a process of their own, as JSON.

vLLM configures logging, reads ``sys.argv``, caches models and sets environment variables for good. None of that may
happen in a notebook's kernel, and two settings must not see each other's traces.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import triage.errors
from triage.engine.environment import engine_environment, prepare_import
from triage.errors import EngineError, TriageError
from triage.processes import start_guarded

_LOG_TAIL_LINES = 8


def run_probe(
    function: str, request: Mapping[str, Any], *, env: Mapping[str, str] | None = None, timeout_s: float = 240.0
) -> Any:
    """The JSON that ``function`` (``module:name``) returns for ``request``, called in a process of its own.

    ``env`` is laid over `engine_environment`. A `TriageError` of the function is raised here again, as the same class.
    Raises `EngineError` when the process dies or takes longer than ``timeout_s`` seconds; none is left then.

    >>> run_probe("json:loads", {})
    Traceback (most recent call last):
    ...
    triage.errors.EngineError: The probe json:loads ended with exit code 1. ...
    """
    prepare_import()
    with tempfile.TemporaryDirectory(prefix="triage-probe-") as name:
        folder = Path(name)
        log_path, answer_path = folder / "log", folder / "answer.json"
        (folder / "request.json").write_text(json.dumps(dict(request)), encoding="utf-8")
        # In a process of its own, else `sys.argv` and this module's name would be the probe's.
        command = [sys.executable, "-m", "triage.engine._probe", function, str(folder)]
        with (
            log_path.open("wb") as log,
            start_guarded(command, env=_environment(env), stdout=log, stderr=subprocess.STDOUT) as process,
        ):
            try:
                code = process.wait(timeout_s=timeout_s)
            except TimeoutError:
                raise EngineError(
                    f"The probe {function} did not end within {timeout_s:g} s. {_quote_tail(log_path)}",
                    hint="Raise timeout_s; a probe starts no server and no GPU work.",
                ) from None
        if code or not answer_path.is_file():
            raise EngineError(
                f"The probe {function} ended with exit code {code}. {_quote_tail(log_path)}",
                hint="Try `python -c 'import vllm'` in the same environment.",
            )
        answer = json.loads(answer_path.read_text(encoding="utf-8"))
    if "error" in answer:
        raise _rebuild(answer["error"])
    return answer["answer"]


def _environment(overrides: Mapping[str, str] | None) -> dict[str, str]:
    env = engine_environment(overrides)
    # Last: a historical vLLM put first on the path stays first.
    root = str(Path(triage.errors.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), root]))
    return env


def _quote_tail(log_path: Path) -> str:
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    tail = [line.strip() for line in lines if line.strip()][-_LOG_TAIL_LINES:]
    return f"It ends with: {' / '.join(tail)}" if tail else "It printed nothing."


def _rebuild(error: Mapping[str, str]) -> TriageError:
    kind: type[TriageError] = getattr(triage.errors, error["type"], EngineError)
    return kind(error["message"], hint=error["hint"])


def _main(function: str, folder: Path) -> None:
    # No `prepare_import` here: the environment that `run_probe` gave this process has prepared it already.
    module, _, name = function.partition(":")
    call: Callable[..., Any] = getattr(import_module(module), name)
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    answer: dict[str, Any]
    try:
        answer = {"answer": call(**request)}
    except TriageError as error:
        answer = {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
