"""The timeline of a watched command, as a picture and in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from triage.hangs._record import Ending, HangRecord, Tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _STILL, _MARK = "#3b6ea5", "#c44e52", "#333333"
_PHASES = ("#dfe7f2", "#c9d7ea")  # neighbours must differ, and the words on them be read
_GIB, _MIB, _KIB = 1 << 30, 1 << 20, 1 << 10
_NARROW = 0.045  # of the width: a phase that is shorter has no room for its name


def plot_timeline(record: HangRecord, *, name: str = "the command") -> Figure:
    """What the command did over its time: phases, output, CPU, memory and, where it was read, the GPU.

    Red is the time without any sign of life until the watch acted.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    ticks = record.timeline
    panels = _list_panels(ticks)
    heights = [0.5, *[1.0 for _ in panels]]
    figure = Figure(figsize=(9, 0.9 + 1.05 * len(panels) + 0.6), layout="constrained")
    axes = figure.subplots(nrows=len(heights), sharex=True, height_ratios=heights)
    end_s = max(record.duration_s, ticks[-1].at_s if ticks else 0.0, 1e-3)
    _draw_phases(axes[0], record, end_s)
    for axis, (label, values) in zip(axes[1:], panels, strict=True):
        known = [(tick.at_s, value) for tick, value in zip(ticks, values, strict=True) if value is not None]
        axis.fill_between(
            [x for x, _ in known], [y for _, y in known], color=_LINE, alpha=0.35, step="pre", linewidth=0
        )
        axis.step([x for x, _ in known], [y for _, y in known], color=_LINE, linewidth=1.2, where="pre")
        axis.set_ylim(bottom=0, top=None if any(y for _, y in known) else 1)
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
        axis.yaxis.set_major_locator(MaxNLocator(nbins=3, min_n_ticks=2))
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[1:]:
        _mark_stall(axis, record)
    axes[-1].set_xlim(0, end_s)
    axes[-1].set_xlabel("seconds since the start")
    figure.align_ylabels()
    figure.suptitle(f"What {name} did over its time: {record.diagnosis.hang_class.replace('_', ' ')}")
    return figure


def explain_record(record: HangRecord) -> str:
    """The timeline in a few sentences, for those who do not see it."""
    ends = {
        Ending.EXITED: "ended by itself",
        Ending.STALLED: "was ended by the watch for want of a sign of life",
        Ending.TIME_LIMIT: "was ended by the watch at its time limit",
        Ending.STOPPED: "was ended because the watch was told to stop",
        Ending.REACHED: "was ended when it had come as far as it was asked to",
        Ending.RUNNING: "is still running",
    }
    told = [f"The command ran for {record.duration_s:.1f} s and {ends[record.ending]}."]
    if record.phases:
        marks = ", ".join(f"{mark.phase} at {mark.at_s:.1f} s" for mark in record.phases)
        told.append(f"Its phases began: {marks}.")
    progress = record.last_progress
    told.append(f"Its last sign of life, {progress.sign}, was {progress.age_s:.1f} s before the end of the record.")
    if record.timeline:
        told.append(_tell_figures(record.timeline))
    told.append(f"Class: {record.diagnosis.hang_class}.")
    return " ".join(told)


def _tell_figures(ticks: Sequence[Tick]) -> str:
    cpu, memory = (max(values) for values in ([t.cpu_percent for t in ticks], [t.rss_bytes for t in ticks]))
    text = (
        f"It printed {ticks[-1].output_bytes:,} bytes in all, used at most {cpu:.0f} % of one core and "
        f"{memory / _MIB:,.0f} MiB of memory, and was using {ticks[-1].cpu_percent:.0f} % at the end."
    )
    gpu = [tick.gpu_percent for tick in ticks if tick.gpu_percent is not None]
    return f"{text} The GPU was at {min(gpu):.0f} to {max(gpu):.0f} %." if gpu else text


def _list_panels(ticks: Sequence[Tick]) -> list[tuple[str, list[float | None]]]:
    """The name and the values of each curve, one value for each tick."""
    rates: list[float | None] = [0.0] if ticks else []
    for before, after in pairwise(ticks):
        gone_s = max(after.at_s - before.at_s, 1e-9)
        rates.append(max(0, after.output_bytes - before.output_bytes) / gone_s)
    rate_unit, rate_name = _choose_unit(rates)
    memory: list[float | None] = [float(tick.rss_bytes) for tick in ticks]
    memory_unit, memory_name = _choose_unit(memory)
    panels: list[tuple[str, list[float | None]]] = [
        (f"output\n({rate_name}/s)", [None if rate is None else rate / rate_unit for rate in rates]),
        ("CPU\n(% of a core)", [tick.cpu_percent for tick in ticks]),
        (f"memory\n({memory_name})", [None if size is None else size / memory_unit for size in memory]),
    ]
    if any(tick.gpu_percent is not None for tick in ticks):
        panels.append(("GPU (%)", [tick.gpu_percent for tick in ticks]))
    return panels


def _choose_unit(sizes: Sequence[float | None]) -> tuple[int, str]:
    largest = max((size for size in sizes if size is not None), default=0.0)
    return next(((u, n) for u, n in ((_GIB, "GiB"), (_MIB, "MiB"), (_KIB, "KiB")) if largest >= u), (1, "bytes"))


def _draw_phases(axis: Axes, record: HangRecord, end_s: float) -> None:
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.tick_params(bottom=False)
    axis.set_ylabel("phase", rotation=0, ha="right", va="center")
    marks = [*record.phases]
    edges = [*[mark.at_s for mark in marks], end_s]
    for index, (mark, (left, right)) in enumerate(zip(marks, pairwise(edges), strict=True)):
        axis.axvspan(left, right, color=_PHASES[index % 2])
        if right - left >= _NARROW * end_s:
            axis.text((left + right) / 2, 0.5, mark.phase.replace("_", "\n"), ha="center", va="center", fontsize=8)
    if not marks:
        axis.text(end_s / 2, 0.5, "no phase of vLLM was recognised", ha="center", va="center", color="#777", fontsize=8)


def _mark_stall(axis: Axes, record: HangRecord) -> None:
    if not record.hung:
        return
    began_s = max(0.0, record.duration_s - record.last_progress.age_s)
    late = began_s > 0.8 * record.duration_s  # then the words stand before the mark
    axis.axvspan(began_s, record.duration_s, color=_STILL, alpha=0.15, linewidth=0)
    axis.axvline(began_s, color=_STILL, linewidth=1)
    if axis.get_subplotspec() is not None and axis.get_subplotspec().rowspan.start == 1:  # type: ignore[union-attr]
        axis.annotate(
            "no sign of life",
            (began_s, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if late else 4, -3),
            ha="right" if late else "left",
            textcoords="offset points",
            color=_MARK,
            fontsize=8,
            va="top",
        )
