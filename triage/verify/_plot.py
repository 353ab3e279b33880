"""The picture of a verification: the rates with their intervals, and every run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ARMS = ("before", "after", "reverted")
# Shape and colour, so that neither is needed alone.
_OUTCOMES = {
    "fail": ("X", "#c44e52"),
    "other_failure": ("P", "#8c3b8c"),
    "pass": ("o", "#3b6ea5"),
    "timeout": ("s", "#bf5b04"),
    "skip": ("d", "#999999"),
    "lost": ("v", "#555555"),
}


def plot_receipt(receipt: Mapping[str, Any]) -> Figure:
    """Above, the failure rate of each arm with its 95 % interval; below, every run by its outcome, in order."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    arms = [arm for arm in _ARMS if receipt[arm]]
    places = {arm: len(arms) - 1 - number for number, arm in enumerate(arms)}
    figure = Figure(figsize=(9, 1.6 + 0.9 * len(arms)), layout="constrained")
    rates, runs = figure.subplots(nrows=2)
    for arm in arms:
        counts = receipt[arm]
        low, high = counts["ci95"]
        rates.plot([low, high], [places[arm]] * 2, color="#3b6ea5", linewidth=2, marker="|", markersize=9)
        if counts["rate"] is not None:
            rates.plot(counts["rate"], places[arm], marker="o", color="#333333")
    bound = receipt["statistics"]["old_rate_lower_bound"]
    if bound:
        rates.axvline(bound, color="#c44e52", linestyle="--", linewidth=1, label="lower bound of the old rate")
    rates.set_xlim(-0.02, 1.02)
    rates.xaxis.set_major_formatter(PercentFormatter(1.0))
    rates.set_xlabel("failure rate")
    for outcome, (marker, colour) in _OUTCOMES.items():
        found = [a for a in receipt["attempts"] if a["outcome"] == outcome]
        if found:
            xs, ys = [a["index"] for a in found], [places[a["arm"]] for a in found]
            runs.scatter(xs, ys, marker=marker, color=colour, s=22, label=outcome.replace("_", " "))
    runs.set_xlabel("run")
    runs.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (rates, runs):
        axis.set_yticks(list(places.values()), list(places))
        axis.set_ylim(-0.6, len(arms) - 0.4)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Failure rates before and after: {receipt['verdict'].replace('_', ' ')}")
    figure.legend(loc="outside lower center", ncols=7, frameon=False)
    return figure


def describe_picture(receipt: Mapping[str, Any]) -> str:
    """The picture in a sentence, for those who do not see it."""
    parts = []
    for arm in _ARMS:
        if counts := receipt[arm]:
            low, high = counts["ci95"]
            rate = "an unknown rate" if counts["rate"] is None else f"{counts['rate']:.1%}"
            parts.append(f"{arm} {rate} ({low:.1%} to {high:.1%}) of {counts['runs']} runs")
    return f"Failure rates with 95 % intervals: {'; '.join(parts)}. Verdict: {receipt['verdict']}."
