"""Reading back what a watch wrote."""

from __future__ import annotations

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from triage.errors import InputError
from triage.hangs._record import SCHEMA_VERSION, HangRecord

_RENEW = "Run the command under triage watch once more."


def read_record(path: Path) -> HangRecord:
    """The record of a ``hang.json``. Raises `InputError` if it is missing, no record, or of another version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}).", hint="Name a hang.json of triage watch.") from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path} is no record of this version of triage watch.", hint=_RENEW)
    try:
        return parse_record(content)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no whole record of triage watch: {error}.", hint=_RENEW) from error


def parse_record(content: dict[str, Any]) -> HangRecord:
    """The record of which `HangRecord.to_json` made this. Raises `KeyError`, `TypeError` or `ValueError` otherwise."""
    evidence = {
        name: content[name] for name in ("samples", "kernel_log", "devcoredumps", "shm", "memory", "not_collected")
    }
    diagnosis = {"hang_class": content["class"], "because": content["because"]}
    whole = {**content, "evidence": evidence, "diagnosis": diagnosis}
    record = _build(HangRecord, whole, "hang.json")
    if not isinstance(record, HangRecord):
        raise TypeError("not an object")
    return record


def _build(kind: Any, value: Any, place: str) -> Any:
    """A value of JSON as the type that a field asks for."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _build_dataclass(kind, value, place)
    if origin in {Union, types.UnionType}:
        known = next(part for part in inner if part is not type(None))
        return None if value is None and type(None) in inner else _build(known, value, place)
    if origin is tuple:
        items = enumerate(_check(list, value, place))
        return tuple(_build(inner[0], item, f"{place}[{index}]") for index, item in items)
    if origin is dict:
        members = _check(dict, value, place).items()
        return {name: _build(inner[1], item, f"{place}.{name}") for name, item in members}
    return _build_plain(kind, value, place)


def _check(kind: type[Any], value: Any, place: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{place} is no {kind.__name__}")
    return value


def _build_plain(kind: Any, value: Any, place: str) -> Any:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{place} is {value!r}")
        return value
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{place} is {value!r}, not {kind.__name__}")
    return value


def _build_dataclass(kind: Any, value: Any, place: str) -> Any:
    _check(dict, value, place)
    hints = _read_hints(kind)
    given = {}
    for field in fields(kind):
        if field.name in value:
            given[field.name] = _build(hints[field.name], value[field.name], f"{place}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise KeyError(f"{place}.{field.name}")
    return kind(**given)


@cache
def _read_hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
