"""A diff as text that can be put into an issue, safe from what hostile names and values would do there."""

from __future__ import annotations

import json

from pydantic import JsonValue

from triage.settings._diff import Change, EnvironmentDiff

_VALUE_CHARS = 120
_SHOWN = 40


def render_for_issue(diff: EnvironmentDiff, *, most: int = _SHOWN) -> str:
    """A Markdown table of the ``most`` telling differences, the rest counted by section.

    >>> render_for_issue(EnvironmentDiff(differences=()))
    'The two captures do not differ.\\n'
    """
    if not diff.differences:
        lines = ["The two captures do not differ."]
    else:
        lines = ["| where | name | first | second | why it is shown |", "| --- | --- | --- | --- | --- |"]
        for d in diff.differences[:most]:
            sides = (
                "*absent*" if d.change is Change.ADDED else _code(d.before),
                "*absent*" if d.change is Change.REMOVED else _code(d.after),
            )
            lines.append(f"| {d.section} | {_code(d.name)} | {sides[0]} | {sides[1]} | {d.why} |")
        rest = diff.differences[most:]
        if rest:
            sections = {d.section: sum(r.section == d.section for r in rest) for d in rest}
            told = ", ".join(f"{count} in {section}" for section, count in sections.items())
            lines += ["", f"{len(rest)} more that are less likely to matter: {told}."]
    lines += [f"\nNot compared: {clean_value(text)}." for text in diff.not_compared]
    return "\n".join(lines) + "\n"


def clean_value(value: JsonValue) -> str:
    """A value on one line, shortened, with what would move a cursor or end a table as an escape.

    >>> clean_value("a\\x1b[31mb\\x00|c")
    'a\\\\x1b[31mb\\\\x00|c'
    """
    text = value if isinstance(value, str) else _say(value)
    if len(text) > _VALUE_CHARS:
        half = _VALUE_CHARS // 2
        text = f"{text[:half]} … {text[-half:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _say(value: JsonValue) -> str:
    if isinstance(value, dict) and set(value) == {"version", "build_id"}:  # a library: the build id tells copies apart
        build = str(value["build_id"] or "no build id")[:12]
        return f"{value['version'] or 'no version'} ({build})"
    return json.dumps(value, ensure_ascii=False)


def _code(value: JsonValue) -> str:
    """In a code span nothing is HTML or Markdown but the backtick; the bar would end the cell."""
    text = clean_value(value).replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text.strip() else "*empty*"
