"""`triage keys`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from triage.cli._console import AsJson, open_console, quote


def keys(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A .safetensors file, an index, a folder, tiny:NAME, or owner/name@revision in the Hub cache.",
        ),
    ],
    *,
    against: Annotated[
        str | None, typer.Option("--against", metavar="CHECKPOINT", help="A checkpoint that plays the model.")
    ] = None,
    model_impl: Annotated[
        str, typer.Option("--model-impl", metavar="auto|vllm|transformers", help="Whose implementation is asked.")
    ] = "auto",
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            metavar="[KIND:]PATTERN=REPLACEMENT",
            help="A rename rule to try, behind vLLM's own; KIND is regex, prefix, suffix or substr; repeat.",
        ),
    ] = None,
    trace: Annotated[
        list[str] | None, typer.Option("--trace", metavar="KEY", help="A key to follow rule by rule; repeat.")
    ] = None,
    impact: Annotated[
        str | None,
        typer.Option(
            "--impact",
            metavar="all|TYPE,...",
            help="Try the rules, else the suggested ones, on other vision-language architectures as well.",
        ),
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Start a real engine on the checkpoint as well.")] = False,
    as_json: AsJson = False,
) -> int:
    """Say which keys of a checkpoint reach no parameter, which are missing, and which rule would mend it.

    Reads headers only, never a tensor, and never opens a pickle. Without --against the model of the config.json beside
    the checkpoint is asked, as the installed vLLM builds and loads it without weights; without either, tensors and
    bytes are counted. Differences are no error: exit 0.
    """
    from triage.checkpoints import answer_keys, list_sentences, read_model_impl

    answer = answer_keys(
        checkpoint,
        against=against,
        model_impl=read_model_impl(model_impl),
        rules=rule or [],
        trace=trace or [],
        impact=impact,
        confirm=confirm,
    )
    if as_json:
        typer.echo(json.dumps(answer.to_json(), ensure_ascii=False))
        return 0 if answer.conclusive else 3
    console = open_console(stderr=False)
    headers = answer.headers
    counted = {"tensor": len(headers.tensors), "byte": headers.bytes, "file": len(headers.shards)}
    console.print(", ".join(f"{count:,} {word}{'s' * (count != 1)}" for word, count in counted.items()))
    if answer.diff is not None:
        console.print(f"{answer.diff.describe()}; against {_show(answer.against or '')}")
    for status, line in answer.fold():
        console.print(f"{status:<12}{line.count:>8,}  {_show(line.text)}")
    for sentence in list_sentences(answer):
        console.print(_show(sentence))
    return 0 if answer.conclusive else 3


def _show(text: str) -> str:
    """A foreign text for a terminal: no markup, and what would move the cursor as an escape."""
    return quote("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))
