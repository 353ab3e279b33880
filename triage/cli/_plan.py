"""`triage plan`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from triage.cli._console import AsJson, open_console, quote


def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model folder, tiny:NAME, or owner/name@revision.")],
    *,
    limits: Annotated[
        str | None,
        typer.Option("--limit-mm-per-prompt", metavar="JSON", help="Items per prompt by modality; 0 removes one."),
    ] = None,
    max_model_len: Annotated[int | None, typer.Option("--max-model-len", metavar="N", min=1, help="Tokens.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option("--max-num-seqs", metavar="N", min=1, help="Sequences.")] = None,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option("--max-num-batched-tokens", metavar="N", min=1, help="Tokens in a step.")
    ] = None,
    model_impl: Annotated[
        str | None, typer.Option("--model-impl", metavar="auto|vllm|transformers", help="Whose implementation runs.")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="JSON", help="A second --limit-mm-per-prompt to compare with.")
    ] = None,
    suggest: Annotated[
        str | None,
        typer.Option("--suggest", metavar="NAME=N,...", help="What the test sends: print the limits that cover it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what vLLM's start-up profiling will push through a multimodal encoder, why, and what that takes.

    Asks vLLM itself; needs no GPU, no weights and no engine start. Exits 2 for a model without an encoder, a modality
    that it does not know, and limits that are no JSON object of whole numbers from 0.
    """
    from triage.encoder import answer_plan, compare_plans, read_model_impl

    answer = answer_plan(
        model,
        limits=limits,
        against=against,
        suggest=suggest,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        model_impl=None if model_impl is None else read_model_impl(model_impl),
    )
    if as_json:
        typer.echo(json.dumps(answer.to_json(), indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    frame = compare_plans(answer.plans)
    table = Table(*map(str, frame.columns), box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in frame.itertuples(index=False):
        table.add_row(*(quote(str(value)) for value in row))
    console = open_console(stderr=False)
    console.print(table)
    for sentence in answer.list_sentences():
        console.print(f"\n{quote(sentence)}")
