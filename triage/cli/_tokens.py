"""`triage tokens`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triage.cli._console import AsJson, open_console, quote
from triage.errors import InputError

if TYPE_CHECKING:
    from triage.tokens import Snapshot, TextComparison

_SHOWN = 40  # characters of a text, or tokens of a place, that the table shows
_SNAPSHOT = "A folder, a tokenizer.json, a SentencePiece .model, owner/name@revision in the Hub cache, or tiny:NAME."


def tokens(
    a: Annotated[str, typer.Argument(metavar="A", help=_SNAPSHOT)],
    b: Annotated[str, typer.Argument(metavar="B", help="The snapshot to compare it with, named the same way.")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[MORE]...", help="Further ones to compare with A.")
    ] = None,
    *,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="TEXT", help="A text to compare on; may be repeated; before the files."),
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option("--text-file", metavar="FILE", help="One text, UTF-8, taken verbatim; may be repeated."),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch what the Hub cache lacks (the tokenizer's files only).")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that a snapshot brings.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Every place where they part, not the first alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare tokenizer snapshots: where they part, and which stage of the pipeline makes them.

    Counts include special tokens and the truncation that the tokenizer.json asks for. `stages` is the smallest set
    that, taken from A into B, makes B encode as A: empty where nothing differs, null where no set does. With --all,
    each text has `divergences` besides. With MORE, each is compared with A, in `others`. Differences found are no
    error: exit 0.
    """
    given = [*(texts or ()), *map(_read_text, files or ())]
    if not given:
        raise InputError("There is no text to compare on.", hint="Give --text TEXT or --text-file FILE.")
    first, *others = _read_all(a, b, *(more or ()), download=download, trust_remote_code=trust_remote_code)
    compared = {other.name: _compare(first, other, given, every=every) for other in others}
    answer: dict[str, Any] = {
        **compared[others[0].name],
        "notes": [f"{s.name}: {problem}" for s in dict.fromkeys([first, *others]) for problem in s.problems],
    }
    if more:
        answer["others"] = [{"snapshot": other.name, **compared[other.name]} for other in others[1:]]
    if as_json:
        typer.echo(json.dumps(answer))
        return
    for name, found in compared.items():
        _print_answer(found, given, names=(first.name, name), every=every)
    notes = open_console(stderr=True)
    for note in answer["notes"]:
        notes.print(f"[yellow]note[/] {quote(note)}")


def _compare(a: Snapshot, b: Snapshot, texts: Sequence[str], *, every: bool) -> dict[str, Any]:
    """What is said of one pair."""
    from triage.tokens import attribute_difference, compare_snapshots, explain_attribution, list_divergences

    attribution = attribute_difference(a, b, texts)
    rows = [_describe_text(comparison) for comparison in compare_snapshots(a, b, texts)]
    if every:
        for text, row in zip(texts, rows, strict=True):
            row["divergences"] = list_divergences(a, b, text).to_dict(orient="records")
    return {
        "texts": rows,
        "stages": None if attribution.stages is None else [stage.value for stage in attribution.stages],
        "explanation": explain_attribution(a, b, attribution),
    }


def _read_text(path: Path) -> str:
    """A file as one text: no line ending is touched, no byte order mark is dropped."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).", hint="Name another --text-file.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}.",
            hint="Convert it first, with iconv for instance.",
        ) from error


def _read_all(*names: str, download: bool, trust_remote_code: bool) -> tuple[Snapshot, ...]:
    """The snapshots. B may be A, for a comparison with itself is a fair question: it is then read once."""
    from triage.tokens import read_snapshots

    same = names[0] == names[1]
    read = read_snapshots(*names[same:], download=download, trust_remote_code=trust_remote_code)
    return (read[0], *read) if same else read


def _describe_text(comparison: TextComparison) -> dict[str, Any]:
    place = comparison.first_divergence
    return {
        "a_count": comparison.a_count,
        "b_count": comparison.b_count,
        "first_divergence": None if place is None else asdict(place),
    }


def _print_answer(answer: Mapping[str, Any], texts: Sequence[str], *, names: tuple[str, str], every: bool) -> None:
    from rich.table import Table

    from triage.tokens import name_span

    console = open_console(stderr=False)
    console.print(f"[bold]A[/] {quote(names[0])}\n[bold]B[/] {quote(names[1])}")
    heads = ("text", "tokens A", "tokens B", "token", "place", "text there", "before", "A has", "B has", "after")
    table = Table(*heads, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for text, row in zip(texts, answer["texts"], strict=True):
        first = row["first_divergence"]
        places = row["divergences"] if every else [first] if first else []
        counts = (_quote_text(text), str(row["a_count"]), str(row["b_count"]))
        for index, place in enumerate(places):
            token = str(place.get("index", place.get("index_a")))
            span = name_span(place["char_start"], place["char_end"])
            sides = (_quote_tokens(place[side]) for side in ("before", "a_tokens", "b_tokens", "after"))
            table.add_row(*(counts if index == 0 else ("", "", "")), token, span, _quote_text(place["text"]), *sides)
        if not places:
            table.add_row(*counts, "", "nowhere")
    console.print(table)
    stages = answer["stages"]
    named = "none explains the difference" if stages is None else ", ".join(stages) or "none"
    console.print(f"\n[bold]stages[/] {named}\n{quote(answer['explanation'])}\n")


def _quote_text(text: str) -> str:
    return quote(repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"))


def _quote_tokens(tokens: Sequence[str]) -> str:
    """Tokens as text; with control characters escaped, lest one moves the cursor."""
    shown = " ".join(repr(token)[1:-1] for token in tokens[:_SHOWN]) or "no token"
    return quote(f"{shown} …" if len(tokens) > _SHOWN else shown)
