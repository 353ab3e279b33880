"""Pictures of the settings family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from triage.settings._pairs import ServedPairs, compare_margins

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAND = "#cfe3cf"


def plot_margins(reference: Sequence[float], served: Sequence[ServedPairs], *, tolerance: float) -> Figure:
    """The deviation of each pair from the float64 reference under each setting, over the tolerance band."""
    from matplotlib.figure import Figure

    table = compare_margins(reference, served, tolerance=tolerance)
    pairs = list(dict.fromkeys(table["pair"]))
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(-tolerance, tolerance, color=_BAND, label=f"tolerance ±{tolerance:g}")
    axes.axhline(0.0, color="#333333", linewidth=1, label="float64 reference")
    groups = list(table.groupby("setting", sort=False))
    for index, (setting, rows) in enumerate(groups):
        shift = 0.12 * (index - (len(groups) - 1) / 2)
        places = [pairs.index(pair) + shift for pair in rows["pair"]]
        axes.errorbar(
            places, rows["deviation"], yerr=rows["spread"], fmt="os^Dv"[index % 5], capsize=4, label=str(setting)
        )
    axes.set_xticks(range(len(pairs)), pairs)
    axes.set_xlabel("pair (query, document)")
    axes.set_ylabel("cosine minus reference")
    axes.set_title("What each setting leaves of the tolerance")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure
