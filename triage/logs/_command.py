"""From a failure to the command that reproduces it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from triage.logs._failure import Failure
from triage.result import Family

_TESTS = "cd /vllm-workspace/tests"
_WATCHED = {Family.GPU_HANG, Family.TIMEOUT}
# What the family's first case shows for any failure of its kind.
_SHOWN_BY_FAMILY = {Family.TOKEN_COUNT, Family.CHECKPOINT_KEYS}
_ELSEWHERE = {Family.IMAGE_OR_REGISTRY, Family.NETWORK, Family.AGENT_LOST}
# The parameter of a notebook that takes what a line says; a capture fills the parameter of its own name in any case.
_TAKEN_BY = {"limit_mm_per_prompt": "implicit_limits"}
# Parameters that name a model: the log's own is in few caches, so the case keeps its stand-in unless asked.
_MODEL_PARAMETERS = ("model", "checkpoint")
_MODEL = re.compile(r"\bserve (?P<a>[\w.-]+/[\w.-]+)|'model(?:_tag)?': '(?P<b>[^']+)'|--model[ =](?P<c>\S+)")
_LENGTH = re.compile(r"--max-model-len[ =](\d+)|'max_model_len': (\d+)")
_LIMITS = re.compile(r"--limit-mm-per-prompt[ =]'?(\{[^{}]*\})|'limit_mm_per_prompt': (\{[^{}]*\})")
_PYTEST = re.compile(r"^((?:[A-Z_][A-Z0-9_]*=\S+ )*)(?:python3? -m )?pytest\b(.*)$")
_PREPARES = re.compile(r"^(?:export (?!VLLM_TEST_GROUP_NAME=)|cd |(?:uv )?pip install )")


class CaseLike(Protocol):
    """What is asked of a case: `triage.cases.Case` has it."""

    @property
    def id(self) -> str: ...
    @property
    def family(self) -> Family: ...
    @property
    def test(self) -> str: ...
    @property
    def parameters(self) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The case of a failure, if any, and what to type: ``with_model`` on a machine that has the job's own model."""

    case: str | None
    command: str
    with_model: str = ""


def plan_command(failure: Failure, job_command: str, cases: Sequence[CaseLike]) -> Plan:
    """The case that a failure belongs to, if any, and a complete command.

    With a case, ``triage run CASE -p …`` with what the log says of its parameters. Without one, the test itself as the
    job ran it, under ``triage watch`` where it hung; "" where there is nothing to run again but the job.
    """
    case = find_case(failure, cases)
    if case is not None:
        filled = fill_parameters(failure, case)
        own = _fill_model(failure, case)
        return Plan(
            case=case.id,
            command=_write_run(case, filled),
            with_model=_write_run(case, filled | own) if own else "",
        )
    if failure.family in _ELSEWHERE:
        return Plan(case=None, command="")
    command = plan_test(failure.test, job_command) if failure.test else job_command
    if command and failure.family in _WATCHED:
        command = shlex.join(["triage", "watch", "--stall-s", "600", "--", "bash", "-c", command])
    return Plan(case=None, command=command)


def explain_no_command(failure: Failure) -> str:
    """Why there is nothing to run for a failure.

    >>> from triage.logs import read_text
    >>> explain_no_command(read_text("Exited with status -1 (agent lost)\\n").failures[0])
    'There is nothing in the code to reproduce: run the job again, elsewhere if it comes back.'
    """
    if failure.family in _ELSEWHERE:
        return "There is nothing in the code to reproduce: run the job again, elsewhere if it comes back."
    return "The log names neither a test nor the command of its job, so there is nothing to type."


def plan_test(test: str, job_command: str) -> str:
    """One test, prepared as its job prepares it: the same folder, exports and packages.

    >>> plan_test("v1/test_x.py::t", "export A=1 && cd /vllm-workspace/tests && pytest v1 && pip install b && pytest c")
    'export A=1 && cd /vllm-workspace/tests && pytest -v -s v1/test_x.py::t'
    """
    steps = [step.strip() for step in job_command.split("&&")]
    runs = [(n, found) for n, step in enumerate(steps) if (found := _PYTEST.match(step))]
    path = test.partition("::")[0]
    chosen = next((pair for pair in runs if _runs_path(pair[1].group(2), path)), runs[-1] if runs else None)
    before = steps if chosen is None else steps[: chosen[0]]
    prepared = [step for step in before if _PREPARES.match(step)]
    if not any(step.startswith("cd ") for step in prepared):
        prepared.append(_TESTS)
    variables = chosen[1].group(1) if chosen else ""
    return " && ".join([*prepared, f"{variables}pytest -v -s {shlex.quote(test)}"])


def find_case(failure: Failure, cases: Sequence[CaseLike]) -> CaseLike | None:
    """The case of the failure's own test; else, for what one notebook explains of a whole family, the family's first.

    A GPU that hangs is explained by start-up's warm-up only where the log says which limits its server had.
    """
    path = (failure.test or "").partition("::")[0].removeprefix("tests/")
    if failure.infra and failure.family is not Family.GPU_HANG:
        return None
    for case in cases:
        words = case.test.split()
        wanted = words[0].partition("::")[0].removeprefix("tests/")
        selected = words[words.index("-k") + 1] if "-k" in words[:-1] else ""
        if path and path == wanted and selected in (failure.test or "") and _suits(failure.family, case.family):
            return case
    warms_up = failure.family is Family.GPU_HANG and "limit_mm_per_prompt" in failure.captures
    if failure.family in _SHOWN_BY_FAMILY or warms_up:
        return next((case for case in cases if case.family is failure.family), None)
    return None


def fill_parameters(failure: Failure, case: CaseLike) -> dict[str, str]:
    """What the log says of the case's notebook parameters; no parameter that the case does not have."""
    known, said = case.parameters, failure.captures
    filled: dict[str, str] = {}
    for name, value in said.items():
        parameter = _TAKEN_BY.get(name, name)
        if value and parameter in known and parameter not in _MODEL_PARAMETERS:
            filled[parameter] = value
    key = said.get("key", "").removeprefix("model.")
    if key and str(known.get("traced_key", "")).startswith(key):
        # The line names a module of the model; the notebook follows one tensor below it.
        filled["traced_key"] = str(known["traced_key"])
    return filled


def read_launch(text: str) -> dict[str, str]:
    """What the line says with which vLLM announces a server: model, length, limits.

    >>> read_launch("Launching RemoteOpenAIServer with: vllm serve a/b --max-model-len 4096")
    {'model': 'a/b', 'max_model_len': '4096'}
    """
    facts: dict[str, str] = {}
    for name, pattern in (("model", _MODEL), ("max_model_len", _LENGTH), ("limit_mm_per_prompt", _LIMITS)):
        found = pattern.search(text)
        value = next((group for group in found.groups() if group), None) if found else None
        if value and name == "limit_mm_per_prompt":
            value = _read_limits(value)
        if value:
            facts[name] = value
    return facts


def _fill_model(failure: Failure, case: CaseLike) -> dict[str, str]:
    model = failure.captures.get("model", "")
    parameter = next((name for name in _MODEL_PARAMETERS if name in case.parameters), None)
    return {parameter: model} if parameter and "/" in model and not model.startswith("/") else {}


def _write_run(case: CaseLike, filled: Mapping[str, str]) -> str:
    words = ["triage", "run", case.id]
    for name, value in sorted(filled.items()):
        words += ["-p", f"{name}={value}"]
    return shlex.join(words)


def _runs_path(arguments: str, path: str) -> bool:
    """Whether a call of pytest names the file, or a folder above it."""
    try:
        words = shlex.split(arguments)
    except ValueError:
        words = arguments.split()
    named = [word.partition("::")[0].rstrip("/") for word in words if not word.startswith("-")]
    return any(path == name or path.startswith(f"{name}/") for name in named if name)


def _read_limits(text: str) -> str | None:
    try:
        limits: Mapping[str, Any] = json.loads(text.replace("'", '"'))
    except ValueError:
        return None
    return json.dumps(limits) if all(isinstance(count, int) for count in limits.values()) else None


def _suits(found: Family, case: Family) -> bool:
    """Whether a case of this family explains a failure of that one: a leak shows as a number, a hang as a time-out."""
    shows = {
        Family.SETTINGS_LEAK: {Family.NUMERIC_TOLERANCE, Family.TEST_ASSERTION},
        Family.GPU_HANG: {Family.TIMEOUT, Family.SERVER_START, Family.GPU_FAULT, Family.UNKNOWN},
        Family.TOKEN_COUNT: {Family.TEST_ASSERTION},
    }
    return found is case or found in shows.get(case, set())
