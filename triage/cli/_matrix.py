"""`triage matrix`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from triage.cli._console import AsJson, open_console, quote

_VERSIONS = "Versions, with commas between: a number, `installed`, or the path of a checkout."


def matrix(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A model folder, tiny:NAME, or owner/name@revision.")
    ],
    *,
    vllm: Annotated[str, typer.Option("--vllm", metavar="V,...", help=_VERSIONS)] = "installed",
    transformers: Annotated[str, typer.Option("--transformers", metavar="V,...", help=_VERSIONS)] = "installed",
    model_impl: Annotated[
        str,
        typer.Option("--model-impl", metavar="auto|vllm|transformers", help="Whose implementation is asked."),
    ] = "transformers",
    as_json: AsJson = False,
) -> int:
    """Say under which versions of vLLM and Transformers a checkpoint's keys load, since when, and which rule changed.

    Historical versions are fetched once into a cache, as Python files only; no GPU and no weights are needed. A pair
    that cannot say (no such version, no network, two that do not fit together) is a row with its reason: then exit 3.
    """
    from triage.checkpoints import compare_versions, read_model_impl
    from triage.engine.models import find_model

    notes = open_console(stderr=True)
    answer = compare_versions(
        find_model(checkpoint),
        vllm=_split(vllm, option="--vllm"),
        transformers=_split(transformers, option="--transformers"),
        model_impl=read_model_impl(model_impl),
        on_progress=lambda words: notes.print(f"[dim]{quote(words)}[/]"),
    )
    if as_json:
        typer.echo(json.dumps(answer.to_json(), ensure_ascii=False))
    else:
        from rich.table import Table

        heads = ("vLLM", "Transformers", "matched", "missing", "unexpected", "mismatched", "verdict")
        table = Table(*heads, box=None, header_style="bold", padding=(0, 2, 0, 0))
        for row in answer.rows:
            values = row.to_json()
            counts = ("matched", "missing", "unexpected", "mismatched")
            cells = ["" if values[name] is None else str(values[name]) for name in counts]
            table.add_row(quote(row.vllm), quote(row.transformers), *cells, row.verdict.value)
        console = open_console(stderr=False)
        console.print(table)
        console.print()
        for sentence in answer.sentences:
            console.print(quote(sentence))
    for row in answer.rows:
        if row.reason and (as_json or row.reason not in answer.explanation):
            notes.print(f"[yellow]note[/] {quote(f'{row.label}: {row.reason}')}")
    return 0 if answer.verdict.conclusive else answer.verdict.exit_code


def _split(text: str, *, option: str) -> list[str]:
    from triage.errors import InputError

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{option} names no version.", hint="Say installed, or numbers with commas between.")
    return names
