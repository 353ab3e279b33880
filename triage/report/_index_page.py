"""The page over many reports: filtered and sorted by one small script, which the page's own policy names by its hash.

Nothing else may run: not a script of another text, not an attribute, not a link. Without a script the page is the same
table, whole, with what changed above it.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup

from triage.report._render import TEMPLATES, read_environment
from triage.result import Verdict

_FILTERS = {"family": "Family", "verdict": "Verdict", "vllm": "vLLM", "node": "Node", "change": "Since the last run"}
_ABSENT = "none"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A choice above the table: the values of one property, each with how many rows have it."""

    name: str
    label: str
    options: tuple[tuple[str, int], ...]


def render_index(index: Mapping[str, Any]) -> str:
    """The page over the rows of an ``index.json``, as HTML.

    >>> "0 reports" in render_index({"versions": {}, "results": []})
    True
    """
    own, earlier = index["results"], index.get("earlier", [])
    rows = [_plan_row(row, is_own=True) for row in own] + [_plan_row(row, is_own=False) for row in earlier]
    script, digest = _read_script()
    return (
        read_environment()
        .get_template("index.html.j2")
        .render(
            versions=index["versions"],
            rows=rows,
            earlier=len(earlier),
            counts=_count(row["verdict"] for row in rows),
            filters=_plan_filters(rows),
            changed=[row for row in rows if row["change"] == "changed"],
            added=sum(row["change"] == "new" for row in rows if row["is_own"]),
            same=sum(row["change"] == "the same" for row in rows if row["is_own"]),
            compared=any(row["previous_verdict"] for row in own),
            started=min((row["started"] for row in own if row["started"]), default=None),
            script=script,
            digest=digest,
        )
    )


def _plan_row(row: Mapping[str, Any], *, is_own: bool) -> dict[str, Any]:
    before = row["previous_verdict"]
    change = "new" if before is None else "the same" if before == row["verdict"] else "changed"
    return {
        **row,
        "is_own": is_own,
        "change": change if is_own else "not run",
        "vllm": row["versions"].get("vllm") or _ABSENT,
        "node": row["node"] or _ABSENT,
        "rank": list(Verdict).index(Verdict(row["verdict"])),
    }


def _plan_filters(rows: Sequence[Mapping[str, Any]]) -> list[Filter]:
    """What there is to choose from; a property with a single value is no choice."""
    planned = [Filter(name=n, label=label, options=_count(row[n] for row in rows)) for n, label in _FILTERS.items()]
    return [choice for choice in planned if len(choice.options) > 1]


def _count(values: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(values).items()))


@cache
def _read_script() -> tuple[Markup, str]:
    """The page's script, and its hash as a Content-Security-Policy names it."""
    text = (TEMPLATES / "index.js").read_text(encoding="utf-8")
    return Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
