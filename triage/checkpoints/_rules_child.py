"""Applies foreign rules to keys under limits. Run as a script; imports nothing of triage.

``python -P _rules_child.py CPU_S MEMORY_BYTES REQUEST.json ANSWER.json``. REQUEST: ``{keys, rules: [[kind, pattern,
replacement]…]}``; ANSWER: ``{names}``, or ``{error, rule, hint}`` with the number of the rule.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import regex

_SEARCH_S = 1.0  # for one key; a hundred thousand times what an honest rule needs
_LONGEST_NAME = 10_000


class RuleFailed(Exception):
    """What is wrong with a rule, as the end of a sentence about it; and the mend."""

    def __init__(self, number: int, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.answer = {"error": what, "rule": number, "hint": hint}


def limit(cpu_s: int, memory_bytes: int) -> None:
    """Sets the limits of this process; without a core file."""
    wanted = {resource.RLIMIT_CPU: cpu_s, resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_CORE: 0}
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def compile_rule(number: int, kind: str, pattern: str, replacement: str | None) -> Any:
    """The compiled pattern of a regex rule, its replacement tried too; the bare text of any other rule."""
    if kind != "regex":
        return pattern
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        place = "" if error.pos is None else f" at character {error.pos}"
        raise RuleFailed(number, f"is no regular expression: {error.msg}{place}", "Mend its pattern.") from error
    except (RecursionError, MemoryError, OverflowError, ValueError, KeyError, IndexError) as error:
        raise RuleFailed(number, "needs too much memory, or nests too deep", "Repeat less in it.") from error
    if replacement is not None:
        try:
            regex.compile(f"{pattern}|").sub(replacement, "", count=1, timeout=_SEARCH_S)  # "|": it matches, always
        except (regex.error, IndexError, KeyError, ValueError) as error:
            what = f"has a replacement that does not fit its pattern: {getattr(error, 'msg', error)}"
            raise RuleFailed(number, what, "Name a group of the pattern: \\1 is the first pair of brackets.") from error
    return compiled


def apply(key: str, rules: list[tuple[str, Any, str | None]]) -> str | None:
    """One key through all rules, in order, as ``WeightsMapper`` does it with each."""
    name = key
    for number, (kind, pattern, replacement) in enumerate(rules):
        if not matches(number, kind, pattern, name):
            continue
        if replacement is None:
            return None
        if kind == "regex":
            try:
                name = pattern.sub(replacement, name, timeout=_SEARCH_S)
            except TimeoutError:
                raise too_slow(number, name) from None
        elif kind == "suffix":
            name = name.removesuffix(pattern) + replacement
        else:
            name = name.replace(pattern, replacement, 1)
        if len(name) > _LONGEST_NAME:
            raise RuleFailed(number, f"makes a name of more than {_LONGEST_NAME} characters", "Replace less.")
    return name


def matches(number: int, kind: str, pattern: Any, name: str) -> bool:
    """Whether a rule matches a name."""
    if kind != "regex":
        return {"prefix": name.startswith, "suffix": name.endswith, "substr": name.__contains__}[kind](pattern)
    try:
        return pattern.search(name, timeout=_SEARCH_S) is not None
    except TimeoutError:
        raise too_slow(number, name) from None


def too_slow(number: int, name: str) -> RuleFailed:
    """What is said of a rule that goes back and forth."""
    shown = name if len(name) <= 80 else f"{name[:80]}…"
    return RuleFailed(number, f"takes more than {_SEARCH_S:g} s on {shown!r} alone")


def main(cpu_s: int, memory_bytes: int, asked: Path, answered: Path) -> None:
    """Reads the request, writes the answer whole."""
    request = json.loads(asked.read_text(encoding="utf-8"))
    limit(cpu_s, memory_bytes)
    answer: dict[str, Any]
    try:
        rules = [
            (kind, compile_rule(number, kind, pattern, replacement), replacement)
            for number, (kind, pattern, replacement) in enumerate(request["rules"])
        ]
        answer = {"names": [apply(key, rules) for key in request["keys"]]}
    except RuleFailed as failure:
        answer = failure.answer
    work = answered.with_suffix(".part")
    work.write_text(json.dumps(answer), encoding="utf-8")
    os.replace(work, answered)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
