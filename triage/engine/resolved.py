"""What vLLM makes of a server's command line and environment: its *resolved* configuration, defaults filled in.

Upstream: ``EngineArgs.create_engine_config`` (``vllm/engine/arg_utils.py``) and the registry of ``vllm/envs.py``.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from triage.engine._assignments import Sources, trace_assignments
from triage.engine._config import list_given_arguments, list_options, resolve_arguments
from triage.engine._impersonate import ResolveAs, impersonate
from triage.engine._names import load_name
from triage.engine._probe import run_probe
from triage.engine.models import check_model_folder
from triage.redaction import redact_json, redact_value

__all__ = ["ResolveAs", "ResolvedConfig", "list_architectures", "resolve_config", "resolve_platforms"]

# Differ from run to run without meaning anything, or repeat the model's own config.json.
_SKIPPED = frozenset({"instance_id", "hf_config", "hf_text_config", "hf_image_processor_config", "model_info"})
_RANDOM_VARIABLES = frozenset({"VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME"})
_MAX_DEPTH = 8


class ResolvedConfig(BaseModel):
    """The configuration that one command line and environment lead to.

    ``settings`` maps a dotted name of ``VllmConfig`` (``scheduler_config.max_num_seqs``) to its value; ``variables``
    every variable of vLLM's registry to what vLLM reads from it, set or not. ``given_arguments`` and
    ``given_variables`` are those that were passed explicitly. A value under a secret's name is not recorded.

    ``arguments`` are the engine arguments after vLLM has filled in their defaults, ``options`` their spelling on the
    command line. ``sources`` says of a setting or argument which line of vLLM assigned it; what has none is a literal
    default. ``set_variables`` are the variables that vLLM itself sets while it resolves.
    """

    model_config = ConfigDict(frozen=True)

    settings: dict[str, JsonValue]
    variables: dict[str, JsonValue]
    given_arguments: tuple[str, ...]
    given_variables: tuple[str, ...]
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    options: dict[str, str] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)
    set_variables: dict[str, str] = Field(default_factory=dict)


def resolve_config(
    model: Path,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    platform: ResolveAs = ResolveAs.HERE,
    timeout_s: float = 240.0,
) -> ResolvedConfig:
    """Asks the installed vLLM, in a process of its own, through the server's own command-line parser.

    ``args`` and ``env`` are what `start_server` would be given. Starts no engine; takes about 12 s. ``platform`` asks
    vLLM's own class of another platform, for a GPU that need not be here: which defaults would be others there.

    Raises `InputError` where vLLM refuses the arguments or the model, and `UnsupportedVersionError` for a vLLM that
    keeps its parser or its configuration somewhere unknown.

    ::

        config = resolve_config(find_model("tiny:gritlm-mistral"), args=["--max-num-seqs", "1"])
        config.settings["scheduler_config.max_num_seqs"]
    """
    check_model_folder(model)
    request = {"model": str(model), "args": list(args), "platform": platform.value}
    answer = run_probe(f"{__name__}:_answer", request, env=env, timeout_s=timeout_s)
    return ResolvedConfig.model_validate(answer)


def resolve_platforms(
    model: Path,
    platforms: Sequence[ResolveAs],
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout_s: float = 240.0,
) -> dict[str, ResolvedConfig]:
    """`resolve_config` for several platforms, side by side, by their names. Raises the first error of any."""

    def resolve(platform: ResolveAs) -> ResolvedConfig:
        return resolve_config(model, args=args, env=env, platform=platform, timeout_s=timeout_s)

    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        return dict(zip([platform.value for platform in platforms], pool.map(resolve, platforms), strict=True))


def list_architectures(*, timeout_s: float = 240.0) -> frozenset[str]:
    """The names of the model classes that the installed vLLM has, from its registry."""
    return frozenset(run_probe(f"{__name__}:_list_architectures", {}, timeout_s=timeout_s))


def _list_architectures() -> list[str]:
    return sorted(load_name("ModelRegistry").get_supported_archs())


def _answer(model: str, args: list[str], platform: str) -> dict[str, Any]:
    """The probe's side of `resolve_config`."""
    inherited = dict(os.environ)  # vLLM sets some of its own while it is imported
    impersonate(ResolveAs(platform))
    options = list_options()
    with trace_assignments() as sources:
        arguments, config = resolve_arguments(model, args)
    settings: dict[str, Any] = {}
    places: dict[str, str] = {}
    _flatten(config, "", settings, places, sources)
    filled: dict[str, Any] = {}
    _flatten(arguments, "", filled, places, sources)
    registry = load_name("environment_variables")
    return {
        "settings": settings,
        "variables": {
            name: _read_variable(name, read) for name, read in sorted(registry.items()) if name not in _RANDOM_VARIABLES
        },
        "given_arguments": list_given_arguments(args),
        "given_variables": sorted(inherited.keys() & registry.keys()),
        "arguments": {name: value for name, value in filled.items() if name in options},
        "options": options,
        "sources": places,
        "set_variables": {
            name: redact_value(name, value) for name, value in sorted(os.environ.items()) if name not in inherited
        },
    }


def _read_variable(name: str, read: Any) -> Any:
    try:
        return redact_json(_simplify(read()), name=name)
    except (ValueError, ImportError, OSError, RuntimeError) as error:  # some look for devices that are not here
        return f"({type(error).__name__})"


def _flatten(
    value: Any, name: str, into: dict[str, Any], places: dict[str, str], sources: Sources, *, depth: int = 0
) -> None:
    """Nested configs become dotted names; anything else becomes JSON under its name, with its source in ``places``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and depth < _MAX_DEPTH:
        for field in dataclasses.fields(value):
            if field.name not in _SKIPPED and not field.name.startswith("_"):
                inner, path = getattr(value, field.name, None), f"{name}.{field.name}".lstrip(".")
                if (id(value), field.name) in sources:
                    places[path] = sources[id(value), field.name]
                _flatten(inner, path, into, places, sources, depth=depth + 1)
    else:
        into[name] = redact_json(_simplify(value), name=name.rpartition(".")[2])


def _simplify(value: Any) -> Any:
    """The value as JSON; what JSON has no word for becomes a short text without addresses."""
    simple: Any
    match value:
        case enum.Enum():
            simple = value.name
        case None | bool() | int() | float() | str():
            simple = value
        case Mapping():
            simple = {str(key): _simplify(inner) for key, inner in sorted(value.items(), key=lambda item: str(item[0]))}
        case set() | frozenset():
            simple = sorted((_simplify(inner) for inner in value), key=str)
        case list() | tuple():
            simple = [_simplify(inner) for inner in value]
        case type():
            simple = value.__qualname__
        case _ if callable(value):
            simple = getattr(value, "__qualname__", type(value).__name__)
        case _:
            simple = re.sub(r" at 0x[0-9a-f]+", "", str(value))
    return simple
