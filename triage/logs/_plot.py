"""Two pictures of many logs: failures by family over time, and node by family; each with its sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from triage.logs._runs import JobRun
from triage.logs._tables import tabulate_nodes
from triage.result import Family

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HOURLY = timedelta(days=2)  # a shorter time is drawn by hours, a longer one by days
_NODES = 40  # more are folded: the ones with the most failures are drawn
_HEADS = 4  # columns of tabulate_nodes before the families


def plot_families(runs: Sequence[JobRun]) -> Figure:
    """Failures by family over time, as bars: of a day, or an hour within two days. Undated ones are left out."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    steps, counts = _count_steps(runs)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots()
    colours = _choose_colours(counts)
    bottom = [0] * len(steps)
    for family, row in counts.items():
        heights = [row[step] for step in steps]
        axes.bar(range(len(steps)), heights, bottom=bottom, width=0.85, color=colours[family], label=family.value)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    if steps:
        form = "%d %b\n%H:00" if _is_hourly(steps) else "%d %b"
        every = max(1, len(steps) // 14)
        axes.set_xticks(range(0, len(steps), every), [step.strftime(form) for step in steps[::every]])
        axes.set_xlabel(f"{steps[0]:%Y-%m-%d} to {steps[-1]:%Y-%m-%d}, UTC")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside right upper", frameon=False, reverse=True)
    else:
        axes.text(0.5, 0.5, "no failure has a date", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
    axes.set_ylabel("failures")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Failures by family", loc="left")
    return figure


def plot_nodes(runs: Sequence[JobRun]) -> Figure:
    """Failures of each node by family, as a grid of counts; a node is labelled with its runs."""
    import numpy as np
    from matplotlib.figure import Figure

    table = tabulate_nodes(runs)
    families = list(table.columns[_HEADS:])
    table = table.loc[table[families].sum(axis="columns").sort_values(ascending=False, kind="stable").index[:_NODES]]
    figure = Figure(
        figsize=(max(5.0, 3.2 + 1.1 * len(families)), 1.7 + 0.36 * max(1, len(table))), layout="constrained"
    )
    axes = figure.subplots()
    axes.set_title("Failures by node and family", loc="left")
    if not families:
        axes.text(0.5, 0.5, "no failure", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return figure
    counts = table[families].to_numpy(dtype=int)
    axes.imshow(np.sqrt(counts), cmap="Reds", aspect="auto", vmin=0)  # one failure shall be seen beside a hundred
    for (y, x), count in np.ndenumerate(counts):
        dark = count > counts.max() / 3
        axes.text(x, y, str(count) if count else "·", ha="center", va="center", color="white" if dark else "#444444")
    labels = [f"{row['node']}  ({row['runs']} runs)" for _, row in table.iterrows()]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xticks(range(len(families)), [family.replace("_", "\n") for family in families])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def explain_families(runs: Iterable[JobRun]) -> str:
    """What the first picture shows, as a sentence.

    >>> explain_families([])
    'No failure was found.'
    """
    runs = list(runs)
    found = [failure.family for run in runs for failure in run.failures]
    if not found:
        return "No failure was found."
    rows = ", ".join(f"{family.value} {count}" for family, count in Counter(found).most_common())
    undated = sum(len(run.failures) for run in runs if not run.began)
    dates = sorted(run.began for run in runs if run.began and run.failures)
    when = f", {dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}" if dates else ""
    return f"{len(found)} failures{when}: {rows}." + (f" {undated} without a date are not drawn." if undated else "")


def explain_nodes(runs: Iterable[JobRun]) -> str:
    """What the second picture shows, as a sentence: the three nodes with the most failures.

    >>> explain_nodes([])
    'No run is known.'
    """
    table = tabulate_nodes(runs)
    if table.empty:
        return "No run is known."
    totals = table.assign(failures=table[list(table.columns[_HEADS:])].sum(axis="columns"))
    worst = totals.sort_values("failures", ascending=False, kind="stable").head(3)
    rows = ", ".join(f"{row['node']} {row['failures']:.0f} in {row['runs']} runs" for _, row in worst.iterrows())
    return f"{len(table)} nodes; the most failures: {rows}."


def _count_steps(runs: Iterable[JobRun]) -> tuple[list[datetime], dict[Family, Counter[datetime]]]:
    """All days or hours from the first failure to the last, and the failures of each family in each."""
    dated = [(run.began, failure.family) for run in runs if run.began for failure in run.failures]
    if not dated:
        return [], {}
    first, last = min(time for time, _ in dated), max(time for time, _ in dated)
    hourly = last - first <= _HOURLY
    step = timedelta(hours=1) if hourly else timedelta(days=1)
    begin = _floor(first, hourly=hourly)
    steps = [begin + step * n for n in range(int((last - begin) / step) + 1)]
    present = {family for _, family in dated}
    counts: dict[Family, Counter[datetime]] = {family: Counter() for family in Family if family in present}
    for time, family in dated:
        counts[family][_floor(time, hourly=hourly)] += 1
    return steps, counts


def _floor(time: datetime, *, hourly: bool) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0, hour=time.hour if hourly else 0)


def _is_hourly(steps: Sequence[datetime]) -> bool:
    return len(steps) < 2 or steps[1] - steps[0] < timedelta(days=1)


def _choose_colours(families: Iterable[Family]) -> dict[Family, tuple[float, ...]]:
    """A family has one colour in every picture; the unknown one is grey."""
    from matplotlib import colormaps

    palette = [*colormaps["tab20"].colors[0::2], *colormaps["tab20"].colors[1::2]]  # type: ignore[attr-defined]
    grey = palette.pop(7)
    order = [family for family in Family if family is not Family.UNKNOWN]
    return {f: grey if f is Family.UNKNOWN else palette[order.index(f)] for f in families}
