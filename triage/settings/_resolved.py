"""Two resolved configurations side by side."""

from __future__ import annotations

import json

import pandas as pd
from pydantic import JsonValue

from triage.engine.resolved import ResolvedConfig

_COLUMNS = ["name", "change", "before", "after", "set_before", "set_after"]


def compare_resolved(before: ResolvedConfig, after: ResolvedConfig) -> pd.DataFrame:
    """What differs between two resolved configurations, settings first, then environment variables.

    Columns: ``name`` (dotted, or the variable's), ``change`` (``added``, ``removed`` or ``changed``), ``before`` and
    ``after`` as JSON text, and whether each side was passed explicitly rather than left to a default.
    """
    rows = _compare(before.settings, after.settings, before.given_arguments, after.given_arguments)
    rows += _compare(before.variables, after.variables, before.given_variables, after.given_variables)
    return pd.DataFrame(rows, columns=_COLUMNS)


def _compare(
    before: dict[str, JsonValue],
    after: dict[str, JsonValue],
    given_before: tuple[str, ...],
    given_after: tuple[str, ...],
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name in sorted(before.keys() | after.keys()):
        if name in before and name in after and before[name] == after[name]:
            continue
        change = "added" if name not in before else "removed" if name not in after else "changed"
        argument = name.rpartition(".")[2]  # an engine argument bears the name of the field that it sets
        rows.append(
            {
                "name": name,
                "change": change,
                "before": json.dumps(before[name]) if name in before else "",
                "after": json.dumps(after[name]) if name in after else "",
                "set_before": argument in given_before,
                "set_after": argument in given_after,
            }
        )
    return rows


def list_leaks(before: ResolvedConfig, after: ResolvedConfig) -> tuple[str, ...]:
    """The settings and variables that ``before`` left to a default and ``after`` passes with another value.

    What merely follows from them (a capture size that follows the batch size, say) is in `compare_resolved` only.
    """
    table = compare_resolved(before, after)
    return tuple(str(name) for name in table.loc[~table["set_before"] & table["set_after"], "name"])


def list_idle(before: ResolvedConfig, after: ResolvedConfig) -> tuple[str, ...]:
    """What ``after`` passes explicitly although ``before`` resolves to the same value by default: it pins, no more."""
    idle = [
        name
        for name, value in after.settings.items()
        if name.rpartition(".")[2] in set(after.given_arguments) - set(before.given_arguments)
        and before.settings.get(name) == value
    ]
    idle += [
        name
        for name in set(after.given_variables) - set(before.given_variables)
        if before.variables.get(name) == after.variables.get(name)
    ]
    return tuple(sorted(idle))
