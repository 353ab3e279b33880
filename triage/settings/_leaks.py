"""What a server start leaves to defaults that are not the same everywhere, who fills them in, and what pins them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import JsonValue

from triage.engine.resolved import ResolvedConfig
from triage.settings._variables import find_group

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_ITEMS = 4
_REDACTED = "(not recorded)"
# Where things lie and what is said differ between any two boxes and compute nothing.
_NO_LEAKS = ("_CACHE_DIR", "_CACHE_ROOT", "_PATH", "_LOGGING", "_DIR", "_URL")


class DefaultSource(StrEnum):
    """Who decides what a default resolves to."""

    DEVICE_AND_USAGE = "device and usage"  # the engine arguments, by memory and name of the device and by who asks
    PLATFORM = "platform"  # vllm/platforms: the class of the platform
    MODEL = "model"  # the model's configuration
    DERIVED = "derived"  # another config, from settings that were resolved before
    LITERAL = "literal"  # the default that is written beside the field
    ENVIRONMENT = "environment"  # vLLM's registry of variables, or a variable that vLLM sets itself


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One thing that was left to a default and resolves to several values.

    ``name`` is an engine argument, a field of a structured one (``compilation_config.mode``) or a variable. ``values``
    are by the label of the resolution; None stands for unset. ``place`` is the line of vLLM that assigned the value,
    where one did. ``pin`` is what makes the value of the first resolution explicit: words of the command line or
    ``NAME=value``; None where no option can say the value.
    """

    name: str
    is_variable: bool
    values: Mapping[str, JsonValue]
    source: DefaultSource
    place: str | None
    pin: str | None


def find_leaks(resolved: Mapping[str, ResolvedConfig]) -> tuple[Leak, ...]:
    """What the first resolution left to a default and another of them resolves otherwise: arguments, then variables.

    The others may be the same command line on another platform (`triage.engine.resolved.resolve_config` with
    ``platform``), or one that passes more. What the first passes explicitly is never a leak.

    >>> here = ResolvedConfig(settings={"c.max_num_seqs": 128}, variables={}, given_arguments=(), given_variables=(),
    ...                       options={"max_num_seqs": "--max-num-seqs"})
    >>> there = here.model_copy(update={"settings": {"c.max_num_seqs": 1024}})
    >>> [leak.pin for leak in find_leaks({"cpu": here, "MI300X": there})]
    ['--max-num-seqs 128']
    """
    if len(resolved) < 2:
        return ()
    base = next(iter(resolved.values()))
    found = []
    for argument, option in sorted(base.options.items()):
        if argument not in base.given_arguments:
            found += _find_in_argument(argument, option, resolved, base)
    found.sort(key=lambda leak: (list(DefaultSource).index(leak.source), leak.name))
    return (*found, *_find_in_variables(resolved, base))


def list_pins(leaks: Sequence[Leak]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The arguments and the variables that would make every leak of these explicit."""
    words = [word for leak in leaks if leak.pin and not leak.is_variable for word in shlex.split(leak.pin)]
    pairs = [leak.pin.partition("=") for leak in leaks if leak.pin and leak.is_variable]
    return tuple(words), {name: value for name, _, value in pairs}


def tabulate_leaks(leaks: Sequence[Leak]) -> pd.DataFrame:
    """One row for each leak: its name, the value under each resolution, and who decides, with the line of vLLM."""
    import pandas as pd

    labels = list(dict.fromkeys(label for leak in leaks for label in leak.values))
    rows = [
        {
            "left to a default": leak.name,
            **{label: _show(leak.values.get(label)) for label in labels},
            "decided by": f"{leak.source}{_shorten_place(leak.place)}",
        }
        for leak in leaks
    ]
    return pd.DataFrame(rows, columns=["left to a default", *labels, "decided by"])


def _find_in_argument(
    argument: str, option: str, resolved: Mapping[str, ResolvedConfig], base: ResolvedConfig
) -> list[Leak]:
    path = next((name for name in base.settings if name.count(".") == 1 and name.endswith(f".{argument}")), None)
    if path is not None:
        values = {label: config.settings.get(path) for label, config in resolved.items()}
    else:
        values = {label: config.arguments.get(argument) for label, config in resolved.items()}
    if _differ(values):
        place = base.sources.get(path or argument) or base.sources.get(argument)
        return [_make_leak(argument, option, values, place)]
    return _find_in_fields(argument, option, resolved, base)


def _find_in_fields(
    argument: str, option: str, resolved: Mapping[str, ResolvedConfig], base: ResolvedConfig
) -> list[Leak]:
    """The plain fields of an argument that is a whole config, ``--compilation-config``; lists follow from others."""
    found = []
    for path in base.settings:
        field = path.removeprefix(f"{argument}.")
        if path.startswith(f"{argument}.") and "." not in field and field not in base.options:
            values = {label: config.settings.get(path) for label, config in resolved.items()}
            plain = all(value is None or isinstance(value, (str, int, float)) for value in values.values())
            if plain and _differ(values):
                found.append(_make_leak(path, f"{option}.{field}", values, base.sources.get(path)))
    return found


def _make_leak(name: str, option: str, values: Mapping[str, JsonValue], place: str | None) -> Leak:
    first = next(iter(values.values()))
    return Leak(
        name=name, is_variable=False, values=values, source=find_source(place), place=place, pin=_pin(option, first)
    )


def _find_in_variables(resolved: Mapping[str, ResolvedConfig], base: ResolvedConfig) -> list[Leak]:
    found = []
    names = {name: None for config in resolved.values() for name in (*config.variables, *config.set_variables)}
    for name in sorted(names):
        if name in base.given_variables or any(part in name for part in _NO_LEAKS):
            continue
        registered = name in base.variables
        if not registered and find_group(name) not in {"rocm", "torch"}:
            continue  # what an imported package sets for itself
        values = {
            label: c.variables.get(name) if registered else c.set_variables.get(name) for label, c in resolved.items()
        }
        if _differ(values) and _REDACTED not in map(str, values.values()):
            place = "vLLM sets it itself" if any(name in c.set_variables for c in resolved.values()) else "vllm/envs.py"
            first = next(iter(values.values()))
            pin = None if first is None or isinstance(first, (dict, list)) else f"{name}={_say_variable(first)}"
            source = DefaultSource.ENVIRONMENT
            found.append(Leak(name=name, is_variable=True, values=values, source=source, place=place, pin=pin))
    return found


def find_source(place: str | None) -> DefaultSource:
    """Who decides, from the line of vLLM that assigned a value.

    >>> find_source("vllm/platforms/cpu.py:293 check_and_update_config").value
    'platform'
    """
    if place is None:
        return DefaultSource.LITERAL
    if place.startswith("vllm/platforms/"):
        return DefaultSource.PLATFORM
    if place.startswith("vllm/engine/"):
        return DefaultSource.MODEL if "prefix_caching" in place else DefaultSource.DEVICE_AND_USAGE
    if place.startswith(("vllm/config/model", "vllm/model_executor/", "vllm/transformers_utils/")):
        return DefaultSource.MODEL
    return DefaultSource.DERIVED


def _differ(values: Mapping[str, JsonValue]) -> bool:
    return len({json.dumps(value, sort_keys=True) for value in values.values()}) > 1


def _pin(option: str, value: JsonValue) -> str | None:
    match value:
        case None:
            return None
        case bool():
            head, dot, field = option.partition(".")
            return (
                f"{option}={json.dumps(value)}"
                if dot
                else option
                if value
                else f"--no-{head.removeprefix('--')}{field}"
            )
        case list() if value and all(isinstance(item, int) for item in value):
            return f"{option} {' '.join(map(str, value))}"
        case dict() if value:
            return f"{option} {shlex.quote(json.dumps(value))}"
        case dict() | list():
            return None  # how a list is said differs from option to option, and an empty one cannot be
        case _:
            text = str(value).removeprefix("torch.")
            return None if text.startswith("(") else f"{option}{'=' if '.' in option else ' '}{shlex.quote(text)}"


def _say_variable(value: JsonValue) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _shorten_place(place: str | None) -> str:
    """``: arg_utils.py:3142``; what is no line of a file, nothing."""
    path = (place or "").partition(" ")[0]
    return f": {path.rpartition('/')[2]}" if ".py:" in path else ""


def _show(value: JsonValue) -> str:
    if isinstance(value, str) and value.startswith("vllm."):  # the path of a class
        return value.rpartition(".")[2]
    if isinstance(value, list) and len(value) > _SHOWN_ITEMS:
        return f"{len(value)} values, {value[0]} to {value[-1]}"
    return "unset" if value is None else value if isinstance(value, str) else json.dumps(value)
