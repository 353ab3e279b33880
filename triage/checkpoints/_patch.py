"""Writes rules into a source file of vLLM's, as a diff that ``git apply`` takes."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from difflib import unified_diff

from triage.checkpoints._rules import quote_literal
from triage.engine.weights import Rule, RuleKind

_MAPPER = "hf_to_vllm_mapper"
_MAKE_MAPPER = "_create_hf_to_vllm_mapper"
_REGEX_IMPORT = "import regex as re\n"  # as vLLM has it everywhere


def write_entry(rule: Rule) -> str:
    """The rule as an entry of a ``WeightsMapper``'s field.

    >>> write_entry(Rule(kind=RuleKind.PREFIX, pattern="tower.", replacement="model.tower."))
    '"tower.": "model.tower.",'
    """
    text = quote_literal(rule.pattern)
    pattern = f"re.compile({text})" if rule.kind is RuleKind.REGEX else text
    return f"{pattern}: {quote_literal(rule.replacement)},"


def patch_class(source: str, file: str, model_class: str, rules: Sequence[Rule]) -> str | None:
    r"""A diff that adds rules to the mapper of a class; None where the class has none that can be read.

    >>> mapper = "WeightsMapper(\n    orig_to_new_prefix={\n      'a': 'b',\n    }\n  )\n"
    >>> source = f"class M:\n  hf_to_vllm_mapper = {mapper}"
    >>> rule = Rule(kind=RuleKind.PREFIX, pattern="c", replacement="d")
    >>> [line for line in patch_class(source, "m.py", "M", [rule]).splitlines() if line.startswith("+ ")]
    ['+      "c": "d",']
    """
    call = _find_call(source, model_class)
    if call is None or call.lineno == call.end_lineno:
        return None
    lines = source.splitlines(keepends=True)
    added: dict[int, list[str]] = {}  # before which line, from 0
    for field in dict.fromkeys(f"orig_to_new_{rule.kind}" for rule in rules):
        entries = [write_entry(rule) for rule in rules if f"orig_to_new_{rule.kind}" == field]
        given = next((keyword.value for keyword in call.keywords if keyword.arg == field), None)
        if given is None:
            indent = _indent(lines, call.keywords[0].lineno)
            new = [f"{indent}{field}={{\n", *(f"{indent}    {entry}\n" for entry in entries), f"{indent}}},\n"]
            added.setdefault(call.keywords[0].lineno - 1, []).extend(new)
        elif isinstance(given, ast.Dict) and given.keys and given.lineno != given.end_lineno:
            last = given.values[-1]
            indent = _indent(lines, given.values[0].lineno)
            if not lines[(last.end_lineno or 1) - 1].rstrip().endswith(","):
                return None
            added.setdefault((given.end_lineno or 1) - 1, []).extend(f"{indent}{entry}\n" for entry in entries)
        else:
            return None
    return _finish(source, lines, added, file, rules)


def patch_backend(source: str, file: str, rules: Sequence[Rule]) -> str | None:
    """A diff that adds regular expressions behind all others of the Transformers backend's mapper."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    function = next((node for node in functions if node.name == _MAKE_MAPPER), None)
    if function is None:
        return None
    made = f"self.{_MAPPER}"
    makes = [
        node
        for node in function.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == made and _has_keywords(node.value)
    ]
    place = (makes or function.body)[-1].lineno - 1
    lines = source.splitlines(keepends=True)
    while lines[place - 1].lstrip().startswith("#"):
        place -= 1
    indent = _indent(lines, function.body[-1].lineno)
    new = [
        f"{indent}orig_to_new_regex[re.compile({quote_literal(rule.pattern)})] = {quote_literal(rule.replacement)}\n"
        for rule in rules
    ]
    return _finish(source, lines, {place: new}, file, rules)


def has_mapper(source: str, model_class: str) -> bool:
    r"""Whether a class of this source assigns a mapper of its own.

    >>> has_mapper("class M:\n    hf_to_vllm_mapper = WeightsMapper()", "M"), has_mapper("class M: pass", "M")
    (True, False)
    """
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == model_class]
    return any(
        isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == _MAPPER
        for node in classes
        for statement in node.body
    )


def _find_call(source: str, model_class: str) -> ast.Call | None:
    """The ``WeightsMapper(…)`` that a class assigns."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == model_class:
            for statement in node.body:
                if (
                    isinstance(statement, ast.Assign)
                    and ast.unparse(statement.targets[0]) == _MAPPER
                    and isinstance(statement.value, ast.Call)
                    and statement.value.keywords
                ):
                    return statement.value
    return None


def _has_keywords(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and bool(value.keywords)


def _indent(lines: Sequence[str], number: int) -> str:
    line = lines[number - 1]
    return line[: len(line) - len(line.lstrip())]


def _finish(source: str, lines: list[str], added: dict[int, list[str]], file: str, rules: Sequence[Rule]) -> str | None:
    imported = _REGEX_IMPORT in source or "\nimport re\n" in source
    if any(rule.kind is RuleKind.REGEX for rule in rules) and not imported:
        first = next((index for index, line in enumerate(lines) if line.startswith("import torch")), None)
        if first is None:
            return None
        added.setdefault(first, []).append(_REGEX_IMPORT)
    after = [piece for index, line in enumerate(lines) for piece in (*added.get(index, ()), line)]
    ast.parse("".join(after))
    return "".join(unified_diff(lines, after, f"a/{file}", f"b/{file}"))
