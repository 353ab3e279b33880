"""The record of an environment: what it holds, and how it is written and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from triage.errors import InputError

SCHEMA_VERSION: Literal[1] = 1
MAX_BYTES = 32 << 20  # a capture with all attachments is below one MiB; whatever is larger is none
_HINT = "Name a file that `triage env --out FILE` wrote."
_SHOWN_PROBLEMS = 3


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class VllmVariable(_Part):
    """A variable of vLLM's registry: what vLLM reads without it (``default``) and what it read here."""

    default: JsonValue = None
    value: JsonValue = None
    is_set: bool = False


class MappedLibrary(_Part):
    """A shared library that was mapped; see `triage.engine.libraries`."""

    version: str | None = None
    build_id: str | None = None
    path: str | None = None


class Gpu(_Part):
    """One GPU. ``arch`` is AMD's name of the instruction set, ``gfx942`` say, or a compute capability."""

    name: str | None = None
    arch: str | None = None
    vram_bytes: int | None = None


class GpuSection(_Part):
    """The GPUs and their driver; ``firmware`` and ``details`` by the names that driver and SMI tool give them."""

    driver: str | None = None
    rocm: str | None = None
    gpus: tuple[Gpu, ...] = ()
    firmware: dict[str, str] = Field(default_factory=dict)
    details: dict[str, str] = Field(default_factory=dict)


class HubModel(_Part):
    """What the Hub cache holds of one model: the commits, and where its branches point."""

    refs: dict[str, str] = Field(default_factory=dict)
    revisions: tuple[str, ...] = ()


class Missing(_Part):
    """A piece that could not be had, and why."""

    what: str
    why: str


class EnvironmentCapture(_Part):
    """Everything that may make one box pass and another fail, redacted. Every mapping is in the order of its names.

    ``variables`` are the variables that are set, ``variable_groups`` their names by who reads them, ``vllm_variables``
    the whole registry of vLLM. ``arguments`` are a server's, where the capture was told them. ``source`` is where the
    installed vLLM was built from. ``attachments`` are the texts of vLLM's and torch's ``collect_env``, on demand.

    >>> EnvironmentCapture.from_json('{"schema_version": 1, "captured": "now"}').packages
    {}
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    captured: str
    versions: dict[str, str | None] = Field(default_factory=dict)
    variables: dict[str, str] = Field(default_factory=dict)
    variable_groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    vllm_variables: dict[str, VllmVariable] = Field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    libraries: dict[str, MappedLibrary] = Field(default_factory=dict)
    gpu: GpuSection = GpuSection()
    machine: dict[str, str] = Field(default_factory=dict)
    source: dict[str, str] = Field(default_factory=dict)
    hub: dict[str, HubModel] = Field(default_factory=dict)
    attachments: dict[str, str] = Field(default_factory=dict)
    not_collected: tuple[Missing, ...] = ()
    duration_s: Annotated[float, Field(ge=0)] = 0.0

    def to_json(self) -> str:
        """The capture as indented JSON, in a stable order."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> EnvironmentCapture:
        """The capture that `to_json` wrote. Raises `InputError` with the first problems of the text."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"It is no capture: {_list_problems(error)}.", hint=_HINT) from None


def read_capture(path: Path) -> EnvironmentCapture:
    """Reads what ``triage env --out FILE`` wrote.

    Raises `InputError` where the file is missing, larger than 32 MiB, cut off, of another schema, or something else.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path} has {size / 2**20:,.0f} MiB: no capture is that large.", hint=_HINT)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).", hint=_HINT) from error
    version = _read_version(data)
    if version != SCHEMA_VERSION and version is not None:
        raise InputError(
            f"{path} has the schema_version {json.dumps(version)[:40]}, and this triage reads {SCHEMA_VERSION}.",
            hint="Capture again with this version: triage env --out FILE.",
        )
    try:
        return EnvironmentCapture.from_json(data)
    except InputError as error:
        raise InputError(f"{path} cannot be used. {error.message}", hint=error.hint) from None


def _read_version(data: bytes) -> Any:
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return None  # the parser says better what is wrong
    return whole.get("schema_version") if isinstance(whole, dict) else None


def _list_problems(error: ValidationError) -> str:
    problems = [
        f"{'.'.join(map(str, e['loc']))[:80] or 'the text'}: {e['msg'][:120]}" for e in error.errors(include_url=False)
    ]
    more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
    return "; ".join(problems[:_SHOWN_PROBLEMS]) + more
