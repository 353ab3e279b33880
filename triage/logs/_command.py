"""From a failure to the command that reproduces it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from triage.logs._failure import Failure
from triage.result import Family

_TESTS = "cd /vllm-workspace/tests"
_WATCHED = {Family.GPU_HANG, Family.TIMEOUT}
# What the family's first case shows for any failure of its kind.
_SHOWN_BY_FAMILY = {Family.TOKEN_COUNT, Family.CHECKPOINT_KEYS}
_ELSEWHERE = {Family.IMAGE_OR_REGISTRY, Family.NETWORK, Family.AGENT_LOST}
_MODEL = re.compile(r"\bserve (?P<a>[\w.-]+/[\w.-]+)|'model(?:_tag)?': '(?P<b>[^']+)'|--model[ =](?P<c>\S+)")
_LENGTH = re.compile(r"--max-model-len[ =](\d+)|'max_model_len': (\d+)")
_LIMITS = re.compile(r"--limit-mm-per-prompt[ =]'?(\{[^{}]*\})|'limit_mm_per_prompt': (\{[^{}]*\})")


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


def plan_command(failure: Failure, job_command: str, cases: Sequence[CaseLike]) -> tuple[str | None, str]:
    """The case that a failure belongs to, if any, and a complete command.

    With a case, ``triage run CASE -p …`` with what the log says of its parameters. Without one, the test itself, under
    ``triage watch`` where it hung; "" where there is nothing to run again but the job.
    """
    case = find_case(failure, cases)
    if case is not None:
        words = ["triage", "run", case.id]
        for name, value in sorted(fill_parameters(failure, case).items()):
            words += ["-p", f"{name}={value}"]
        return case.id, shlex.join(words)
    if failure.family in _ELSEWHERE:
        return None, ""
    command = f"{_TESTS} && pytest -v -s {shlex.quote(failure.test)}" if failure.test else job_command
    if command and failure.family in _WATCHED:
        command = shlex.join(["triage", "watch", "--stall-s", "600", "--", "bash", "-c", command])
    return None, command


def find_case(failure: Failure, cases: Sequence[CaseLike]) -> CaseLike | None:
    """The case of the failure's own test; else, for families that one notebook explains, the family's first."""
    path = (failure.test or "").partition("::")[0].removeprefix("tests/")
    if failure.infra and failure.family is not Family.GPU_HANG:
        return None
    for case in cases:
        words = case.test.split()
        wanted = words[0].partition("::")[0].removeprefix("tests/")
        selected = words[words.index("-k") + 1] if "-k" in words[:-1] else ""
        if path and path == wanted and selected in (failure.test or "") and _suits(failure.family, case.family):
            return case
    if failure.family in _SHOWN_BY_FAMILY:
        return next((case for case in cases if case.family is failure.family), None)
    return None


def fill_parameters(failure: Failure, case: CaseLike) -> dict[str, str]:
    """What the log says of the case's notebook parameters; no parameter that the case does not have."""
    known, said = case.parameters, failure.captures
    filled: dict[str, str] = {}
    if "max_model_len" in known and said.get("max_model_len"):
        filled["max_model_len"] = said["max_model_len"]
    if "implicit_limits" in known and said.get("limit_mm_per_prompt"):
        filled["implicit_limits"] = said["limit_mm_per_prompt"]
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
