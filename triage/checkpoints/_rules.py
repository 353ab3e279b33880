"""Rules of an engineer, tried on a checkpoint's keys. A pattern is a program that somebody else wrote.

vLLM's ``WeightsMapper`` runs its patterns with the `regex` module, so `regex` it is here too: the standard library's
``re`` differs in a few things. Neither is safe: ``(a|aa)+$`` goes back and forth for days, and ``a{1000000000}`` takes
all memory before it has seen a key. So patterns run in a child process under limits, and each search has a time limit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import regex

from triage.engine.weights import Rule, RuleKind
from triage.errors import InputError
from triage.processes import start_guarded

_CHILD = Path(__file__).with_name("_rules_child.py")
_LONGEST_PATTERN = 10_000  # characters; the longest of Transformers' own has about 150
_CPU_S = 10  # for a handful of rules; 200,000 keys take 0.4 s for each
_CPU_S_PER_MB = 5  # of keys times rules
_MEMORY_BYTES = 2**30
_MEMORY_PER_BYTE = 40  # of keys
_HINT = (
    "Write it as PATTERN=REPLACEMENT, like '^vision_model\\.=vision_tower.' or 'prefix:vision_model.=vision_tower.'."
)
_KINDS = (RuleKind.REGEX, RuleKind.PREFIX, RuleKind.SUFFIX, RuleKind.SUBSTR)
_SIMPLER = "Anchor it with ^, and repeat nothing that is repeated already."


def parse_rule(text: str) -> Rule:
    r"""The rule that ``[KIND:]PATTERN=REPLACEMENT`` stands for, split at the last ``=``.

    KIND is ``regex`` (where it is left out), ``prefix``, ``suffix`` or ``substr``, as in the fields of vLLM's
    ``WeightsMapper``. Raises `InputError` for a text without ``=`` or without a pattern. Whether the pattern compiles
    is said by `check_rules` and `apply_rules`, which ask a child process.

    >>> print(parse_rule(r"^(?=a)old\.=new."), parse_rule("prefix:old.=new."), sep=", ")
    regex ^(?=a)old\. -> new., prefix old. -> new.
    """
    pattern, equals, replacement = text.rpartition("=")
    if not equals:
        raise InputError(f"The rule {text!r} has no '='.", hint=_HINT)
    kind = RuleKind.REGEX
    for named in _KINDS:
        if pattern.startswith(f"{named}:"):
            kind, pattern = named, pattern.removeprefix(f"{named}:")
            break
    if not pattern:
        raise InputError(f"The rule {text!r} has no pattern before its last '='.", hint=_HINT)
    return Rule(kind=kind, pattern=pattern, replacement=replacement)


def write_rule(rule: Rule) -> str:
    """The text that `parse_rule` reads as this rule.

    >>> write_rule(parse_rule("prefix:old.=new."))
    'prefix:old.=new.'
    """
    kind = "" if rule.kind is RuleKind.REGEX else f"{rule.kind}:"
    return f"{kind}{rule.pattern}={rule.replacement}"


def simplify_rule(rule: Rule) -> Rule:
    r"""The rule as a prefix or a suffix where a regular expression says no more than that.

    >>> print(simplify_rule(parse_rule(r"^tower\.model\.=tower.")))
    prefix tower.model. -> tower.
    """
    body = rule.pattern.removeprefix("^").removesuffix("$")
    literal = regex.fullmatch(r"(?:[\w \-/]|\\[^\w])+", body)
    ends = rule.pattern.startswith("^"), rule.pattern.endswith("$")
    if rule.kind is not RuleKind.REGEX or not literal or all(ends) or not any(ends) or "\\" in (rule.replacement or ""):
        return rule
    text = regex.sub(r"\\([^\w])", r"\1", body)
    return Rule(kind=RuleKind.PREFIX if ends[0] else RuleKind.SUFFIX, pattern=text, replacement=rule.replacement)


def write_mapper(rule: Rule) -> str:
    r"""The rule as an argument of vLLM's ``WeightsMapper``, in its plainest form.

    >>> write_mapper(parse_rule(r"^tower\.model\.=tower."))
    'orig_to_new_prefix={"tower.model.": "tower."}'
    """
    plain = simplify_rule(rule)
    pattern = f"re.compile({quote_literal(plain.pattern)})" if plain.kind is RuleKind.REGEX else None
    return f"orig_to_new_{plain.kind}={{{pattern or quote_literal(plain.pattern)}: {quote_literal(plain.replacement)}}}"


def quote_literal(text: str | None) -> str:
    """A literal of Python for this text, raw where it holds a backslash and can be."""
    if text is None:
        return "None"
    if '"' in text or text.endswith("\\") or not text.isprintable():
        return repr(text)
    return f'r"{text}"' if "\\" in text else f'"{text}"'


def check_rules(rules: Sequence[Rule]) -> None:
    """Raises `InputError` where a pattern does not compile, a replacement names no group, or either takes too much."""
    apply_rules((), rules)


def apply_rules(keys: Iterable[str], rules: Sequence[Rule]) -> dict[str, str | None]:
    r"""The name that the rules give each key, every matching rule in turn, in the order given; None is dropped.

    A rule does what vLLM's ``WeightsMapper`` does with one of its kind: a regular expression replaces wherever it is
    found, a prefix at the beginning, a suffix at the end, a substring where it stands first.

    Raises `InputError` for a rule that does not compile, refers to a group that is not there, or takes too much time
    or memory. Upstream: ``WeightsMapper`` in ``vllm/model_executor/models/utils.py``.

    >>> apply_rules(["old.a", "b"], [parse_rule(r"^old\.(.+)=new.\1")])
    {'old.a': 'new.a', 'b': 'b'}
    """
    names = list(dict.fromkeys(keys))
    for rule in rules:
        _check_kind(rule)
    if all(rule.kind is not RuleKind.REGEX for rule in rules):
        return {key: _apply_plain(key, rules) for key in names}
    return dict(zip(names, _ask_child(names, rules), strict=True))


def _check_kind(rule: Rule) -> None:
    if rule.scope is not None or rule.kind in {RuleKind.RENAMING, RuleKind.STACKED}:
        raise InputError(
            f"The rule `{rule}` is Transformers' or vLLM's own and cannot be tried by itself.",
            hint="Use a regex, prefix, substr or suffix rule.",
        )
    if not rule.pattern:
        raise InputError("A rule has no pattern.", hint=_HINT)
    if len(rule.pattern) + len(rule.replacement or "") > _LONGEST_PATTERN:
        raise InputError(f"A rule has more than {_LONGEST_PATTERN} characters.", hint="Split it.")


def _apply_plain(key: str, rules: Sequence[Rule]) -> str | None:
    """Prefixes, suffixes and substrings, which cost next to nothing."""
    for rule in rules:
        matches = {
            RuleKind.PREFIX: key.startswith,
            RuleKind.SUFFIX: key.endswith,
            RuleKind.SUBSTR: key.__contains__,
        }[rule.kind]
        if not matches(rule.pattern):
            continue
        if rule.replacement is None:
            return None
        if rule.kind is RuleKind.SUFFIX:
            key = key.removesuffix(rule.pattern) + rule.replacement
        else:
            key = key.replace(rule.pattern, rule.replacement, 1)
    return key


def _ask_child(keys: list[str], rules: Sequence[Rule]) -> list[str | None]:
    size = sum(map(len, keys))
    cpu_s = _CPU_S + _CPU_S_PER_MB * size * len(rules) // 10**6
    memory_bytes = _MEMORY_BYTES + _MEMORY_PER_BYTE * size
    request = {"keys": keys, "rules": [[rule.kind.value, rule.pattern, rule.replacement] for rule in rules]}
    with tempfile.TemporaryDirectory(prefix="triage-rules-") as name:
        asked, answered = Path(name, "request.json"), Path(name, "answer.json")
        asked.write_text(json.dumps(request), encoding="utf-8")
        with start_guarded(
            [sys.executable, "-P", _CHILD, str(cpu_s), str(memory_bytes), asked, answered],
            env=dict(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            grace_s=1.0,
        ) as child:
            try:
                child.wait(timeout_s=3.0 * cpu_s + 30)
            except TimeoutError:
                answered.unlink(missing_ok=True)
        if not answered.is_file():
            raise InputError(f"The rules {_quote(rules)} take more than {cpu_s} s or too much memory.", hint=_SIMPLER)
        answer = json.loads(answered.read_text(encoding="utf-8"))
    if "error" in answer:
        rule = rules[answer["rule"]]
        raise InputError(f"The rule `{_shorten(str(rule))}` {answer['error']}.", hint=answer["hint"] or _SIMPLER)
    names: list[str | None] = answer["names"]
    return names


def _quote(rules: Sequence[Rule]) -> str:
    return ", ".join(f"`{_shorten(str(rule))}`" for rule in rules[:3]) + (" and others" if len(rules) > 3 else "")


def _shorten(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:120]}…"
