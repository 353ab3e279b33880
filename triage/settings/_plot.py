"""Pictures of the settings family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from triage.settings._pairs import ServedPairs, compare_margins

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_BAND = "#cfe3cf"
_BLAMED = "#b5462f"
_QUIET = "#8a8a8a"


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


def plot_effects(table: pd.DataFrame) -> Figure:
    """The effect of each single setting, from `triage.settings.compare_effects`, beside the noise; log scale."""
    from matplotlib.figure import Figure

    ranked = table[table["share"].notna()][::-1]
    noise = float(table["noise"].max())
    figure = Figure(figsize=(8, 0.45 * len(ranked) + 1.3), layout="constrained")
    axes = figure.subplots()
    lowest = noise / 30
    for place, row in enumerate(ranked.to_dict("records")):
        width = max(float(row["effect"]), lowest)
        axes.barh(place, width, color=_BLAMED if row["blamed"] else _QUIET)
        told = f"{row['share']:.0%}" if row["blamed"] else "not blamed"
        axes.annotate(told, (max(width, noise), place), xytext=(6, 0), textcoords="offset points", va="center")
    axes.axvline(noise, color="#333333", linestyle="--", linewidth=1, label=f"noise {noise:.1e}")
    axes.set_xscale("log")
    axes.set_xlim(lowest / 1.5, max([noise, *map(float, ranked["effect"])]) * 8)
    axes.set_yticks(range(len(ranked)), [str(name) for name in ranked["setting"]])
    axes.set_xlabel("largest change of a mean cosine against the defaults")
    axes.set_title("Which setting moves the numbers")
    axes.legend(loc="lower right", frameon=False)
    return figure
