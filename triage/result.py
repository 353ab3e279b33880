"""What every family returns: a verdict, its cause, and the evidence for it. JSON in and out."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from triage.errors import InputError

SCHEMA_VERSION: Literal[1] = 1


class Verdict(StrEnum):
    """Whether the failure was reproduced; the *why* is the result's ``cause``."""

    REPRODUCED = "REPRODUCED"  # the symptom was seen
    MECHANISM = "MECHANISM"  # the cause was shown; the symptom needs hardware that is not here
    NOT_REPRODUCED = "NOT_REPRODUCED"  # ran whole, symptom absent
    FLAKY = "FLAKY"  # seen in some runs, with its rate
    INFRA = "INFRA"  # the node, not the code
    INCONCLUSIVE = "INCONCLUSIVE"  # ran, evidence does not decide
    INCOMPLETE = "INCOMPLETE"  # did not finish

    @property
    def conclusive(self) -> bool:
        """Whether the run answers the question.

        >>> Verdict.MECHANISM.conclusive, Verdict.INFRA.conclusive
        (True, False)
        """
        return self not in {Verdict.INFRA, Verdict.INCONCLUSIVE, Verdict.INCOMPLETE}

    @property
    def exit_code(self) -> int:
        """The exit code of `triage run`: 0 conclusive, 3 inconclusive or infra, 4 incomplete.

        >>> [v.exit_code for v in (Verdict.NOT_REPRODUCED, Verdict.INFRA, Verdict.INCOMPLETE)]
        [0, 3, 4]
        """
        if self.conclusive:
            return 0
        return 4 if self is Verdict.INCOMPLETE else 3


class Family(StrEnum):
    """A kind of failure that one notebook investigates, or that a CI log shows."""

    TOKEN_COUNT = "token_count"
    NUMERIC_TOLERANCE = "numeric_tolerance"
    CHECKPOINT_KEYS = "checkpoint_keys"
    GPU_HANG = "gpu_hang"
    GPU_FAULT = "gpu_fault"
    OUT_OF_MEMORY = "out_of_memory"
    MEMORY_NOT_RELEASED = "memory_not_released"
    SETTINGS_LEAK = "settings_leak"
    TIMEOUT = "timeout"
    SERVER_START = "server_start"
    MISSING_DEPENDENCY = "missing_dependency"
    COLLECTION = "collection"
    AGENT_LOST = "agent_lost"
    IMAGE_OR_REGISTRY = "image_or_registry"
    NETWORK = "network"
    TEST_ASSERTION = "test_assertion"
    UNKNOWN = "unknown"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evidence(_Record):
    """One observation that bears on the verdict.

    >>> Evidence(statement="prompt_tokens of the whole texts", observed="284", expected="285 or 286").observed
    '284'
    """

    statement: str
    observed: str
    expected: str | None = None


class Arm(_Record):
    """The verdict for one set-up of several that a report compares, e.g. one pair of versions."""

    name: str
    verdict: Verdict
    cause: str


class Result(_Record):
    """The answer of one reproduction.

    ``parameters`` are the notebook's, as run. ``versions`` maps a package to its version, ``None`` where it is
    absent. ``snapshots`` maps a model or tokenizer to its revision or content hash. ``findings`` holds the
    numbers of the family, as plain JSON. ``node`` is an alias of the machine. ``bad_input`` says that an input of the
    run, a model folder say, stopped it.

    >>> r = Result(case="c", family="token_count", verdict="REPRODUCED", cause="a trailing space", next_command="x")
    >>> Result.from_json(r.to_json()) == r
    True
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    case: str
    family: Family
    verdict: Verdict
    cause: Annotated[str, Field(min_length=1)]
    next_command: str
    arms: tuple[Arm, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    needs_gpu: str | None = None
    bad_input: bool = False
    findings: dict[str, Any] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str | None] = Field(default_factory=dict)
    snapshots: dict[str, str] = Field(default_factory=dict)
    node: str | None = None
    started: datetime | None = None
    duration_s: float | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of `triage run` for this result alone: its verdict's, or 2 where the input was at fault."""
        return InputError.exit_code if self.bad_input else self.verdict.exit_code

    def to_json(self) -> str:
        """The result as indented JSON."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The result that `to_json` wrote. Raises `InputError` with every problem of the text.

        >>> Result.from_json('{"schema_version": 9}')
        Traceback (most recent call last):
        ...
        triage.errors.InputError: Not a triage result: schema_version: Input should be 1; case: Field required; ...
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'text'}: {e['msg']}" for e in error.errors(include_url=False)
            )
            raise InputError(
                f"Not a triage result: {problems}.", hint="Write it again with the installed version: triage run."
            ) from None


def read_result(path: Path) -> Result:
    """Reads a ``result.json``. Raises `InputError` if it is missing or not a result."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).", hint="Name a result.json of `triage run`.") from error
    try:
        return Result.from_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from None
