"""Pictures of the encoder family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from triage.encoder._plan import EncoderPlan
from triage.encoder._startup import compare_startups
from triage.engine.startup import Startup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHOSEN, _OTHER, _BUDGET = "#c44e52", "#b8bec9", "#333333"


def plot_plans(plans: Mapping[str, EncoderPlan]) -> Figure:
    """Tokens per item by setting and modality; the profiled one in red, the encoder budget as a mark."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    rows = [(name, plan, candidate) for name, plan in plans.items() for candidate in plan.candidates]
    figure = Figure(figsize=(8, 0.9 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, (_, plan, candidate) in enumerate(rows):
        chosen = candidate.modality == plan.modality
        axes.barh(y, candidate.tokens_per_item, color=_CHOSEN if chosen else _OTHER)
        axes.plot([plan.encoder_budget] * 2, [y - 0.45, y + 0.45], color=_BUDGET, linewidth=2)
        text = f"{candidate.tokens_per_item} tokens" if candidate.limit else "limit 0: removed"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # else the budget's mark runs through the text
        place = (candidate.tokens_per_item, y)
        axes.annotate(text, place, xytext=(8, 0), textcoords="offset points", va="center", bbox=box)
    axes.set_yticks(range(len(rows)), [f"{name}\n{candidate.modality}" for name, _, candidate in rows])
    axes.invert_yaxis()
    axes.margins(x=0.28)
    axes.set_xlabel("encoder tokens per item")
    axes.set_title("What start-up profiling takes")
    handles = [
        Patch(color=_CHOSEN, label="profiled"),
        Patch(color=_OTHER, label="candidate"),
        Line2D([], [], color=_BUDGET, linewidth=2, label="encoder budget"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


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
