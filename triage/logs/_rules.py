"""Rules as data: what a line of a log says about the failure, one table of ``rules.toml`` for each kind of line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from triage.errors import RuleError
from triage.result import Family

_FOLDER = Path(__file__).parent
_HINT = "Compare with triage/logs/rules.toml."


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of line.

    ``pattern`` is searched in the line without colours and time stamps; its named groups are captured. Of several rules
    that match one line, the first of the file counts. A ``weak`` rule counts only where pytest reports a failure.
    What follows from another failure names the families that it may follow from, or ``*``, in ``consequence_of``; its
    own family counts where no root is known.
    """

    id: str
    family: Family
    pattern: str
    source: str
    example: str
    counter_example: str
    infra: bool = False
    weak: bool = False
    consequence_of: tuple[str, ...] = ()

    def follows(self, root: Rule) -> bool:
        """Whether this line may be a consequence of that one."""
        return not root.consequence_of and ("*" in self.consequence_of or root.family.value in self.consequence_of)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """All rules in the order of the file; ``ignored`` are patterns of lines that say nothing, whatever they hold."""

    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()


@cache
def read_rules(path: Path = _FOLDER / "rules.toml") -> Rules:
    """The rules of a file, triage's own by default. Raises one `RuleError` that names every table that is no rule.

    >>> len({rule.id for rule in read_rules().rules}) > 50
    True
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RuleError(f"{path} cannot be read ({error.strerror}).", hint="Name another file of rules.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RuleError(f"{path} is not TOML: {error}.", hint=_HINT) from error
    problems: list[str] = []
    rules = []
    for index, table in enumerate(tables.get("rule", ())):
        try:
            rules.append(_make_rule(table))
        except (TypeError, ValueError) as error:
            problems.append(f"{table.get('id', f'rule {index + 1}')}: {error}")
    ids = [rule.id for rule in rules]
    problems += [f"{i}: two rules have this id" for i in sorted({i for i in ids if ids.count(i) > 1})]
    if problems:
        raise RuleError(f"{path.name} holds what is no rule: {'; '.join(problems)}.", hint=_HINT)
    return Rules(rules=tuple(rules), ignored=tuple(map(str, tables.get("ignored", ()))))


def _make_rule(table: Mapping[str, Any]) -> Rule:
    known = {field.name for field in fields(Rule)}
    if unknown := sorted(set(table) - known):
        raise ValueError(f"unknown {', '.join(unknown)}")
    if missing := [
        name for name in ("id", "family", "pattern", "source", "example", "counter_example") if not table.get(name)
    ]:
        raise ValueError(f"without {', '.join(missing)}")
    wrong = [
        n for n in ("id", "family", "pattern", "source", "example", "counter_example") if type(table[n]) is not str
    ]
    wrong += [name for name in ("infra", "weak") if type(table.get(name, False)) is not bool]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} of the wrong type")
    try:
        family = Family(table["family"])
    except ValueError:
        raise ValueError(f"no family is called {table['family']!r}") from None
    given = dict(table) | {"family": family, "consequence_of": tuple(table.get("consequence_of", ()))}
    return Rule(**given)
