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
from collections.abc import Callable, Mapping, Sequence
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
    # In a process of its own, else `sys.argv` and this module's name would be the probe's.
    answer = ask_process(
        [sys.executable, "-m", "triage.engine._probe", function],
        request,
        env=_environment(env),
        timeout_s=timeout_s,
        subject=f"The probe {function}",
        hint="Try `python -c 'import vllm'` in the same environment.",
    )
    if "error" in answer:
        raise _rebuild(answer["error"])
    return answer["answer"]


def ask_process(
    command: Sequence[str],
    request: Mapping[str, Any],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    subject: str,
    hint: str,
) -> Any:
    """The JSON that ``command REQUEST ANSWER`` leaves in the file ANSWER for the JSON in the file REQUEST.

    ``subject`` begins the messages of the `EngineError` that is raised where the process dies or takes too long, and
    ``hint`` is the mend of a death.
    """
    with tempfile.TemporaryDirectory(prefix="triage-probe-") as name:
        asked, answered, log_path = (Path(name) / file for file in ("request.json", "answer.json", "log"))
        asked.write_text(json.dumps(dict(request)), encoding="utf-8")
        with (
            log_path.open("wb") as log,
            start_guarded([*command, asked, answered], env=env, stdout=log, stderr=subprocess.STDOUT) as process,
        ):
            try:
                code = process.wait(timeout_s=timeout_s)
            except TimeoutError:
                raise EngineError(
                    f"{subject} did not end within {timeout_s:g} s. {_quote_tail(log_path)}",
                    hint="Raise timeout_s, or look for other load on this machine.",
                ) from None
        if code or not answered.is_file():
            raise EngineError(f"{subject} ended with exit code {code}. {_quote_tail(log_path)}", hint=hint)
        return json.loads(answered.read_text(encoding="utf-8"))


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


def _main(function: str, asked: Path, answered: Path) -> None:
    # No `prepare_import` here: the environment that `run_probe` gave this process has prepared it already.
    module, _, name = function.partition(":")
    call: Callable[..., Any] = getattr(import_module(module), name)
    request = json.loads(asked.read_text(encoding="utf-8"))
    answer: dict[str, Any]
    try:
        answer = {"answer": call(**request)}
    except TriageError as error:
        answer = {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}
    answered.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
