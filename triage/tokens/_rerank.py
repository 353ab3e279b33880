"""The four ``/rerank`` requests of the upstream test: what a server counts, and what a tokenizer alone predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from triage.engine.server import Server
from triage.errors import InputError
from triage.tokens._snapshots import Snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """One of the requests of the upstream test: which of the two texts is cut, and to how many pieces."""

    name: str
    max_tokens_per_query: int | None = None
    max_tokens_per_doc: int | None = None

    @property
    def limits(self) -> dict[str, int | None]:
        """The texts that this request sends, each with the pieces to which it is cut."""
        return {"query": self.max_tokens_per_query, "document": self.max_tokens_per_doc}


def make_texts(*, query: str, document: str, repeat: int) -> dict[str, str]:
    """The two texts of the requests: each sentence ``repeat`` times, as the upstream test makes them.

    Raises `InputError` where a text would be empty: nothing drifts in no text.

    >>> make_texts(query="Who?", document="Me. ", repeat=2)
    {'query': 'Who?Who?', 'document': 'Me. Me. '}
    """
    texts = {"query": query * repeat, "document": document * repeat}
    if empty := [name for name, text in texts.items() if not text]:
        raise InputError(
            f"The {' and the '.join(empty)} would be empty with repeat={repeat}.",
            hint="Give sentences that are not empty, and repeat them at least once.",
        )
    return texts


def list_truncations(limit: int) -> tuple[Truncation, ...]:
    """The four requests of the upstream test, in its order.

    >>> [t.name for t in list_truncations(10)]
    ['nothing cut', 'query cut to 10', 'document cut to 10', 'both cut to 10']
    """
    if limit < 1:
        raise InputError(f"A truncation limit of {limit} leaves no token.", hint="Give a limit of at least 1.")
    return (
        Truncation(name="nothing cut"),
        Truncation(name=f"query cut to {limit}", max_tokens_per_query=limit),
        Truncation(name=f"document cut to {limit}", max_tokens_per_doc=limit),
        Truncation(name=f"both cut to {limit}", max_tokens_per_query=limit, max_tokens_per_doc=limit),
    )


def measure_rerank(server: Server, *, query: str, document: str, truncations: Sequence[Truncation]) -> dict[str, int]:
    """``usage.prompt_tokens`` of ``/rerank`` for each request, by the request's name."""
    return {
        t.name: server.rerank(
            query,
            [document],
            max_tokens_per_query=t.max_tokens_per_query,
            max_tokens_per_doc=t.max_tokens_per_doc,
        ).prompt_tokens
        for t in truncations
    }


def predict_rerank(
    snapshot: Snapshot,
    *,
    query: str,
    document: str,
    truncations: Sequence[Truncation],
    side: Literal["right", "left"] = "right",
) -> dict[str, int]:
    """The counts that the tokenizer alone makes likely: each text sent by itself, as a bi-encoder is.

    What a server counts beyond them is its own accounting, not the snapshot's. ``side`` is where texts are cut.
    """
    return {
        t.name: snapshot.count(query, limit=t.max_tokens_per_query, side=side)
        + snapshot.count(document, limit=t.max_tokens_per_doc, side=side)
        for t in truncations
    }


def tabulate_counts(
    served: Mapping[str, Mapping[str, int]],
    predicted: Mapping[str, Mapping[str, int]],
    expected: Sequence[tuple[int, ...]] | None = None,
) -> pd.DataFrame:
    """One row for each request: served and predicted counts of each snapshot, their drift, upstream's expectation.

    The drift is how many more the first snapshot counts; of more than two, there is one for each of the others.

    >>> tabulate_counts({"a": {"x": 5}, "b": {"x": 4}}, {"a": {"x": 5}, "b": {"x": 4}}, [(4, 5)]).loc["x"].to_dict()
    {'a served': 5, 'a alone': 5, 'b served': 4, 'b alone': 4, 'drift': 1, 'upstream expects': '4 or 5'}
    """
    frame = pd.DataFrame(
        {
            f"{name} {kind}": pd.Series(counts)
            for name in served
            for kind, counts in (("served", served[name]), ("alone", predicted[name]))
        }
    )
    first, *others = served
    for other in others:
        frame["drift" if len(others) == 1 else f"{other} drift"] = frame[f"{first} served"] - frame[f"{other} served"]
    if expected is not None:
        frame["upstream expects"] = [" or ".join(map(str, allowed)) for allowed in expected]
    frame.index.name = "request"
    return frame


def plot_counts(table: pd.DataFrame) -> Figure:
    """Served counts of `tabulate_counts` as bars, a group for each request, with the drift named below it."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    served = [column for column in table.columns if column.endswith(" served")]
    width = 0.8 / len(served)
    for index, column in enumerate(served):
        places = [request + (index - (len(served) - 1) / 2) * width for request in range(len(table))]
        bars = axes.bar(places, table[column], width=0.95 * width, label=column.removesuffix(" served"))
        axes.bar_label(bars, fontsize=9)
    drifts = table[[column for column in table.columns if column.endswith("drift")]].itertuples(index=False)
    names = [
        f"{name}\ndrift {', '.join(f'{drift:+d}' for drift in drifting)}" if any(drifting) else str(name)
        for name, drifting in zip(table.index, drifts, strict=True)
    ]
    axes.set_xticks(range(len(table)), names)
    axes.set_ylabel("prompt_tokens")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
