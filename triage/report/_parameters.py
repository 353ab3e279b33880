"""The parameters cell: read without running it, and checked before any kernel starts (papermill #245, #806)."""

from __future__ import annotations

import ast
import io
import math
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal, Union

from pydantic import TypeAdapter, ValidationError

from triage.errors import InputError, ParameterError

_PLAIN: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "None": None,
    "Any": Any,
    "list": list,
    "dict": dict,
}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One line of the parameters cell, e.g. ``repeat: int = 20  # how often each sentence is repeated``."""

    name: str
    annotation: str
    kind: Any
    default: Any
    help: str


def read_parameters(notebook: Path) -> tuple[Parameter, ...]:
    """The parameters of a notebook, in the order of its cell tagged ``parameters``; none without such a cell.

    Raises `InputError` if the notebook cannot be read, or if a line is not an annotated literal.
    """
    source = _read_cell(notebook)
    try:
        return parse_parameters(source)
    except SyntaxError as error:
        raise InputError(
            f"{notebook.name}: the parameters cell, line {error.lineno}: {error.msg}.",
            hint="Each line is `name: type = literal  # help`.",
        ) from None


def parse_parameters(source: str) -> tuple[Parameter, ...]:
    """The parameters of the text of a parameters cell. Raises `SyntaxError`.

    >>> [p] = parse_parameters('repeat: int = 20  # how often')
    >>> p.name, p.kind, p.default, p.help
    ('repeat', <class 'int'>, 20, 'how often')
    """
    comments = {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    parameters = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        name, annotation, value = _split_assignment(node)
        try:
            default = ast.literal_eval(value)
        except ValueError:
            raise _say(node, f"the default of {name} is not a literal") from None
        if annotation is None:
            written, kind = type(default).__name__, Any if default is None else type(default)
        else:
            written, kind = ast.unparse(annotation), _resolve(annotation)
        help_text = comments.get(node.end_lineno or node.lineno, "")
        parameters.append(Parameter(name=name, annotation=written, kind=kind, default=default, help=help_text))
    return tuple(parameters)


def check_parameters(
    parameters: Sequence[Parameter],
    *,
    values: Mapping[str, Any] | None = None,
    texts: Sequence[str] = (),
    place: str = "the notebook",
) -> dict[str, Any]:
    """The given parameters, checked strictly against the annotations; nothing is converted silently.

    ``values`` are Python values (a case's TOML); ``texts`` are ``NAME=VALUE`` from the command line and win over
    them. A ``str`` takes its text verbatim, every other type is read as JSON. Raises one `ParameterError` that
    lists every problem.

    >>> cell = parse_parameters('revision: str = "main"' + chr(10) + 'repeat: int = 20')
    >>> check_parameters(cell, texts=["revision=007", "repeat=3"])
    {'revision': '007', 'repeat': 3}
    >>> check_parameters(cell, texts=["repaet=3", "repeat=many"])
    Traceback (most recent call last):
    ...
    triage.errors.ParameterError: 2 parameters of the notebook are wrong:
      repaet: unknown; did you mean repeat?
      repeat: 'many' is not int. Known: revision (str), repeat (int).
    """
    known = {p.name: p for p in parameters}
    checked: dict[str, Any] = {}
    problems: list[str] = []

    def take(name: str, value: Any, *, is_text: bool) -> None:
        if name not in known:
            problems.append(_say_unknown(name, known))
            return
        try:
            checked[name] = _read_text(known[name], value) if is_text else _read_value(known[name], value)
        except ValueError as error:
            problems.append(f"{name}: {error}")

    for name, value in (values or {}).items():
        take(name, value, is_text=False)
    seen: set[str] = set()
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals:
            problems.append(f"{text!r} has no '='; write NAME=VALUE")
        elif not name:
            problems.append(f"{text!r} has no name before '='")
        elif name in seen:
            problems.append(f"{name}: given twice")
        else:
            seen.add(name)
            take(name, value, is_text=True)
    if problems:
        raise ParameterError(_say_all(problems, place), hint=_say_known(parameters))
    return checked


def _read_cell(notebook: Path) -> str:
    import json

    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
        return "".join(tagged[0]["source"]) if tagged else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{notebook} is not a notebook ({type(error).__name__}: {error}).", hint="Name a Jupyter notebook."
        ) from error


def _split_assignment(node: ast.stmt) -> tuple[str, ast.expr | None, ast.expr]:
    match node:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value) if value is not None:
            return name, annotation, value
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, None, value
    raise _say(node, "only `name: type = literal` is understood here")


def _say(node: ast.stmt | ast.expr, message: str) -> SyntaxError:
    error = SyntaxError(message)
    error.lineno = node.lineno
    return error


def _resolve(node: ast.expr) -> Any:
    """The type of an annotation, without running any code of the notebook."""
    match node:
        case ast.Name(id=name) if name in _PLAIN:
            return _PLAIN[name]
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str() as text):
            return _resolve(ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_resolve(left), _resolve(right)]  # noqa: UP007 - built from two values, not written down
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            value = ast.literal_eval(inner)
            return Literal[value]
        case ast.Subscript(value=ast.Name(id=("list" | "dict") as name), slice=inner):
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return GenericAlias(_PLAIN[name], tuple(_resolve(item) for item in items))
    raise _say(node, f"the type {ast.unparse(node)} is not one of str, int, float, bool, None, list, dict, Literal, |")


def _read_value(parameter: Parameter, value: Any) -> Any:
    try:
        checked = TypeAdapter(parameter.kind).validate_python(value, strict=True)
    except ValidationError:
        raise ValueError(f"{value!r} is not {parameter.annotation}") from None
    if not _is_finite(checked):  # JSON, in which a request and a result travel, has no word for it
        raise ValueError(f"{value!r} is not finite")
    return checked


def _is_finite(value: Any) -> bool:
    match value:
        case float():
            return math.isfinite(value)
        case dict():
            return all(map(_is_finite, value.values()))
        case list():
            return all(map(_is_finite, value))
    return True


def _read_text(parameter: Parameter, text: str) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(parameter.kind)
    if parameter.kind is not str:
        try:
            value = adapter.validate_json(text, strict=True)
        except ValidationError:
            pass
        else:
            if not isinstance(value, str):  # a string stays as it was typed, quotes and all
                return _read_value(parameter, value)
    try:
        return adapter.validate_python(text, strict=True)
    except ValidationError:
        raise ValueError(f"{text!r} is not {parameter.annotation}{_hint_at_json(parameter, text)}") from None


def _hint_at_json(parameter: Parameter, text: str) -> str:
    if text in {"True", "False", "None"}:
        return f"; write {({'True': 'true', 'False': 'false', 'None': 'null'})[text]}"
    if parameter.annotation.startswith(("list", "dict")):
        return " as JSON"
    return ""


def _say_unknown(name: str, known: Mapping[str, Parameter]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"{name}: unknown" + (f"; did you mean {near[0]}?" if near else "")


def _say_all(problems: Sequence[str], place: str) -> str:
    if len(problems) == 1:
        return f"A parameter of {place} is wrong: {problems[0].removesuffix('?')}."
    return f"{len(problems)} parameters of {place} are wrong:\n  " + "\n  ".join(problems) + "."


def _say_known(parameters: Sequence[Parameter]) -> str:
    if not parameters:
        return "It takes no parameters."
    return "Known: " + ", ".join(f"{p.name} ({p.annotation})" for p in parameters) + "."
