"""Captures the environment of this box: everything that may make it pass where another fails."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from triage.engine.environment import engine_environment
from triage.engine.libraries import read_libraries
from triage.engine.registry import read_registry
from triage.engine.versions import list_packages, read_versions
from triage.errors import InputError, TriageError
from triage.machine.asking import ask_all
from triage.redaction import redact_text
from triage.settings._gpus import read_gpu_section
from triage.settings._provenance import read_hub, read_machine, read_source
from triage.settings._record import EnvironmentCapture, GpuSection, MappedLibrary, Missing, VllmVariable
from triage.settings._variables import read_variables

_CHILD_S = 30.0
_SMI_S = 10.0
_IMPORT_S = 120.0
_ATTACHED = ("vllm.collect_env", "torch.utils.collect_env")


def capture_environment(
    *,
    environ: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    pid: int | None = None,
    attach: bool = False,
    smi_limit_s: float = _SMI_S,
) -> EnvironmentCapture:
    """Everything that may make this box pass where another fails, redacted; about a second without a GPU.

    ``environ`` is what is asked about, this process's environment without it; ``arguments`` are those of the server
    that is meant. The libraries are those of process ``pid``, or of a child that loads torch's. ``attach`` adds the
    texts of vLLM's and torch's ``collect_env``, and libraries after a whole ``import vllm``: that takes half a minute.

    Imports neither torch nor vLLM here. A part that cannot be had stands in ``not_collected`` with its reason. Raises
    `InputError` for a ``pid`` that is gone or may not be read.

    >>> capture = capture_environment(environ={"HSA_ENABLE_SDMA": "0", "HF_TOKEN": "hf_" + "a1B2" * 8})
    >>> capture.variables
    {'HF_TOKEN': '(not recorded)', 'HSA_ENABLE_SDMA': '0'}
    """
    began = time.monotonic()
    environ = dict(os.environ if environ is None else environ)
    limit_s = _IMPORT_S if attach else _CHILD_S
    questions: dict[str, Callable[[], Any]] = {
        "vllm_variables": partial(read_registry, environ=environ, timeout_s=limit_s),
        "libraries": partial(read_libraries, pid=pid, with_import=attach and pid is None, timeout_s=limit_s),
        "gpu": partial(read_gpu_section, limit_s=smi_limit_s),
        "hub": partial(read_hub, environ),
        "source": read_source,
        "packages": list_packages,
        "machine": partial(read_machine, environ),
    }
    if attach:
        questions |= {name: partial(_run_module, name, limit_s) for name in _ATTACHED}
    answers = ask_all({name: partial(_catch, question) for name, question in questions.items()}, limit_s=limit_s + 5.0)
    given: dict[str, Any] = {name: value for name, value in answers.given.items() if not isinstance(value, TriageError)}
    refused = {name: error for name, error in answers.given.items() if isinstance(error, TriageError)}
    if pid is not None and isinstance(refused.get("libraries"), InputError):
        raise refused["libraries"]
    gpu, missing = given.get("gpu", (GpuSection(), []))
    reasons = answers.missing | {name: error.message for name, error in refused.items()}
    missing += [Missing(what=name, why=redact_text(why)) for name, why in reasons.items()]
    variables, groups = read_variables(environ)
    return EnvironmentCapture(
        captured=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=dict(sorted(read_versions().items())),
        variables=variables,
        variable_groups=groups,
        vllm_variables={name: VllmVariable(**asdict(row)) for name, row in given.get("vllm_variables", {}).items()},
        arguments=tuple(map(redact_text, arguments)),
        packages=dict(sorted(given.get("packages", {}).items())),
        libraries={
            name: MappedLibrary(version=held.version, build_id=held.build_id, path=redact_text(held.path))
            for name, held in given.get("libraries", {}).items()
        },
        gpu=gpu,
        machine=given.get("machine", {}),
        source=given.get("source", {}),
        hub=given.get("hub", {}),
        attachments={name: given[name] for name in _ATTACHED if name in given},
        not_collected=tuple(sorted(missing, key=lambda part: part.what)),
        duration_s=round(time.monotonic() - began, 3),
    )


def _catch(question: Callable[[], Any]) -> Any:
    """The answer, or the error as a value: its message is a whole sentence, and needs no class in front."""
    try:
        return question()
    except TriageError as error:
        return error


def _run_module(name: str, limit_s: float) -> str:
    """What ``python -m NAME`` prints, redacted."""
    import subprocess
    import tempfile

    from triage.processes import start_guarded

    with tempfile.TemporaryFile() as printed:
        command = [sys.executable, "-m", name]
        with start_guarded(command, env=engine_environment(), stdout=printed, stderr=subprocess.DEVNULL) as process:
            try:
                code = process.wait(timeout_s=limit_s)
            except TimeoutError:
                raise InputError(f"{name} did not end within {limit_s:g} s", hint="Try it by hand.") from None
        printed.seek(0)
        text = printed.read().decode(errors="backslashreplace")
    if code:
        raise InputError(f"python -m {name} ended with {code}", hint="Try it by hand.")
    return redact_text(text)
