"""`triage counts`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triage.cli._console import AsJson, open_console, quote
from triage.errors import InputError

if TYPE_CHECKING:
    from triage.tokens import Limits, SegmentDrift

_DIGITS = 10  # no request has as many tokens
_COUNTS = "Counts of the requests in their order, such as 286/156/155/25; ? for one that the log does not show."
_REQUESTS = (
    "Other requests than the upstream test's: a JSON object of names, each with its texts and their limits or null."
)


def counts(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=_COUNTS)],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The counts of the same requests that drifted.")],
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="To how many tokens the test cuts a text.")] = 10,
    requests: Annotated[str | None, typer.Option("--requests", metavar="JSON", help=_REQUESTS)] = None,
    as_json: AsJson = False,
) -> int:
    """Say from the counts of a CI log alone which text can carry a drift: no tokenizer is needed.

    The four requests of upstream's rerank test are: nothing cut, the query cut, the document cut, both cut. Exit code 3
    where the counts do not decide what drifts.
    """
    from triage.tokens import Role, explain_segments, list_truncations, locate_drift

    limits = {t.name: t.limits for t in list_truncations(limit)} if requests is None else _read_requests(requests)
    parts = locate_drift(*_read_pair(before, after, limits), limits=limits)
    explanation = explain_segments(parts)
    if as_json:
        typer.echo(json.dumps({"segments": [_describe(part) for part in parts], "explanation": explanation}))
    else:
        _print(parts, explanation)
    roles = {part.role for part in parts}
    return 3 if Role.UNDECIDED in roles and Role.CARRIES not in roles else 0


def _read_pair(before: str, after: str, limits: Limits) -> tuple[dict[str, int], dict[str, int]]:
    """The counts of those requests that have one on both sides."""
    pairs = zip(limits, _read_counts(before, limits), _read_counts(after, limits), strict=True)
    known = [(request, x, y) for request, x, y in pairs if x is not None and y is not None]
    if not known:
        raise InputError("No request has a count on both sides.", hint="Give the counts that the log shows.")
    return {request: x for request, x, _ in known}, {request: y for request, _, y in known}


def _read_counts(text: str, limits: Limits) -> list[int | None]:
    words = re.split(r"[/,\s]+", text.strip())
    counts = [None if word == "?" else _read_count(word) for word in words]
    if len(counts) != len(limits) or -1 in counts:
        raise InputError(
            f"{text!r} is not the counts of {len(limits)} requests ({', '.join(limits)}).",
            hint="Give one number for each, or ?, such as 286/156/?/25; other requests with --requests.",
        )
    return counts


def _read_count(word: str) -> int:
    """The number, or -1 for what is none."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < _DIGITS else -1


def _read_requests(text: str) -> dict[str, dict[str, int | None]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--requests is not JSON: {error}.", hint=_give_example()) from error
    if not isinstance(content, dict) or not content or not all(map(_is_request, content.values())):
        raise InputError("--requests is not an object of requests.", hint=_give_example())
    return content


def _is_request(value: Any) -> bool:
    """Texts by name, each with a positive limit or None."""
    return isinstance(value, dict) and all(
        limit is None or (type(limit) is int and 0 < limit < 10**_DIGITS) for limit in value.values()
    )


def _give_example() -> str:
    return 'Give it as \'{"whole": {"query": null}, "cut": {"query": 10}}\'.'


def _describe(part: SegmentDrift) -> dict[str, Any]:
    return {
        "name": part.name,
        "role": str(part.role),
        "drift": part.drift,
        "before": part.before,
        "after": part.after,
    }


def _print(parts: tuple[SegmentDrift, ...], explanation: str) -> None:
    from rich.table import Table

    table = Table("text", "says", "before", "after", "drift", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for part in parts:
        numbers = ("open" if value is None else str(value) for value in (part.before, part.after, part.drift))
        table.add_row(quote(part.name), str(part.role), *numbers)
    console = open_console(stderr=False)
    console.print(table)
    console.print(f"\n{quote(explanation)}")
