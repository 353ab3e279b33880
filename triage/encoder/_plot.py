"""Pictures of the encoder family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from triage.encoder._plan import EncoderPlan
from triage.encoder._startup import compare_startups
from triage.encoder._tables import show_bytes
from triage.engine.startup import Startup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHOSEN, _OTHER, _BUDGET = "#c44e52", "#b8bec9", "#333333"


def plot_plans(plans: Mapping[str, EncoderPlan]) -> Figure:
    """The cost of each modality under each setting: tokens per item, and what a batch's activations are estimated at.

    The profiled one is red; a mark shows the encoder budget. The second panel is left out where nothing is estimated.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    rows = [(name, plan, candidate) for name, plan in plans.items() for candidate in plan.candidates]
    estimated = any(candidate.activation_bytes for *_, candidate in rows)
    figure = Figure(figsize=(10 if estimated else 8, 0.9 + 0.5 * len(rows)), layout="constrained")
    panels = figure.subplots(ncols=2, sharey=True, squeeze=False)[0] if estimated else [figure.subplots()]
    axes = panels[0]
    for y, (_, plan, candidate) in enumerate(rows):
        colour = _CHOSEN if candidate.modality == plan.modality else _OTHER
        axes.plot([plan.encoder_budget] * 2, [y - 0.45, y + 0.45], color=_BUDGET, linewidth=2)
        text = f"{candidate.tokens_per_item} tokens" if candidate.limit else "limit 0: removed"
        _draw_bar(axes, y, candidate.tokens_per_item, colour, text, behind=plan.encoder_budget)
        if estimated:
            size_bytes = candidate.activation_bytes
            text = f"{candidate.items_per_batch} item(s): {show_bytes(size_bytes)}" if size_bytes else "removed"
            _draw_bar(panels[1], y, (size_bytes or 0) / 2**20, colour, "no formula" if size_bytes is None else text)
    axes.set_yticks(range(len(rows)), [f"{name}\n{candidate.modality}" for name, _, candidate in rows])
    axes.invert_yaxis()
    axes.set_xlabel("encoder tokens per item")
    if estimated:
        panels[1].set_xlabel("activations of a batch, estimated (MiB)")
    for panel, room in zip(panels, (0.5, 0.9) if estimated else (0.28,), strict=True):
        panel.margins(x=room)  # for the words behind the bars
    figure.suptitle("What start-up profiling takes")
    handles = [
        Patch(color=_CHOSEN, label="profiled"),
        Patch(color=_OTHER, label="candidate"),
        Line2D([], [], color=_BUDGET, linewidth=2, label="encoder budget"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_bar(axes: Axes, y: int, width: float, colour: str, text: str, *, behind: float = 0.0) -> None:
    """A bar with words behind it, and behind the mark at ``behind``."""
    axes.barh(y, width, color=colour)
    axes.annotate(text, (max(width, behind), y), xytext=(8, 0), textcoords="offset points", va="center")


def plot_phases(startups: Sequence[Startup]) -> Figure:
    """The phases of each start, as stacked bars in seconds."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    durations = compare_startups(startups).fillna(0.0)
    figure = Figure(figsize=(8, 1.4 + 0.7 * len(startups)), layout="constrained")
    axes = figure.subplots()
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    lefts = [0.0] * len(startups)
    for index, (phase, row) in enumerate(durations.iterrows()):
        widths = [float(row[startup.name]) for startup in startups]
        axes.barh(range(len(startups)), widths, left=lefts, color=colours[index % len(colours)], label=str(phase))
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    axes.set_yticks(range(len(startups)), [startup.name for startup in startups])
    axes.invert_yaxis()
    axes.set_xlabel("seconds (the log is good to 1 s)")
    axes.set_title("Phases of the start-up")
    if not durations.empty:
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure
