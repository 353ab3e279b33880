"""What each setting does to the cosines: its effect against the noise, its share, how likely the test then fails."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from triage.engine.environment import Platform, read_platform
from triage.errors import EngineError, InputError
from triage.settings._pairs import RESOLUTION, PairTexts, ServedPairs, compare_margins, measure_noise, measure_pairs
from triage.settings._statistics import predict_failure

BASELINE = "defaults"
_TOGETHER = "explicit"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to start the server: what is passed on top of what every setting gets.

    ``processes`` is how many servers are started with it. ``is_single`` says that it changes one thing, so that its
    effect can be blamed on that.
    """

    name: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    is_single: bool = True


@dataclass(frozen=True, kw_only=True)
class MeasuredSettings:
    """The settings that were served, in their order, and why vLLM did not start with the others."""

    served: tuple[ServedPairs, ...]
    refused: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> ServedPairs:
        return next(pairs for pairs in self.served if pairs.name == name)


def plan_settings(
    explicit_args: Sequence[str],
    explicit_env: Mapping[str, str],
    *,
    default_prefix_caching: bool = False,
    batch_sizes: Sequence[int] = (1,),
    dtypes: Sequence[str] = ("float32",),
    processes: int = 2,
) -> tuple[Setting, ...]:
    """The defaults (in ``processes`` fresh servers, for the noise between them), all explicit settings, and each alone.

    Each alone: prefix caching on (``default_prefix_caching`` says that it is on anyway: then off), each number of
    sequences in a batch, each dtype, and what ``explicit_env`` sets; the last only where it is read, on ROCm.
    """
    caching = (
        Setting(name="no prefix caching", args=("--no-enable-prefix-caching",))
        if default_prefix_caching
        else Setting(name="prefix caching", args=("--enable-prefix-caching",))
    )
    alone = [
        caching,
        *(Setting(name=f"batches of {size}", args=("--max-num-seqs", str(size))) for size in batch_sizes),
        *(Setting(name=dtype, args=("--dtype", dtype)) for dtype in dtypes),
    ]
    if read_platform() is Platform.ROCM:
        alone += [Setting(name=f"{name}={value}", env={name: value}) for name, value in explicit_env.items()]
    return (
        Setting(name=BASELINE, processes=processes, is_single=False),
        Setting(name=_TOGETHER, args=tuple(explicit_args), env=dict(explicit_env), is_single=False),
        *alone,
    )


def measure_settings(
    model: Path,
    texts: PairTexts,
    settings: Sequence[Setting],
    *,
    args: Sequence[str] = (),
    repeats: int = 3,
    ready_timeout_s: float = 300.0,
) -> MeasuredSettings:
    """The cosines of every setting, each from real servers of its own, one after the other.

    Half a minute for each server of a tiny model on a CPU. A single setting that vLLM does not start with (the prefix
    cache of a model that has none, say) is refused, with vLLM's reason. Raises as `measure_pairs` for the others,
    without which there is nothing to compare.
    """
    if not settings or any(setting.processes < 1 for setting in settings):
        raise InputError("There is no setting to measure.", hint="Give at least one, in at least one process.")
    served, refused = [], {}
    for setting in settings:
        try:
            parts = [
                measure_pairs(
                    model,
                    texts,
                    name=setting.name,
                    args=(*args, *setting.args),
                    env=setting.env,
                    repeats=repeats,
                    ready_timeout_s=ready_timeout_s,
                )
                for _ in range(setting.processes)
            ]
        except EngineError as error:
            if not setting.is_single:
                raise
            refused[setting.name] = error.message
        else:
            served.append(join_processes(parts))
    return MeasuredSettings(served=tuple(served), refused=refused)


def join_processes(parts: Sequence[ServedPairs]) -> ServedPairs:
    """Several servers of one setting as one measurement, which remembers which server each row came from."""
    rows = [row for part in parts for row in part.cosines]
    starts = [number for number, part in enumerate(parts) for _ in part.cosines]
    return replace(parts[0], cosines=tuple(rows), processes=tuple(starts))


def compare_effects(
    reference: Sequence[float],
    served: Sequence[ServedPairs],
    *,
    tolerance: float,
    together: Sequence[str] = (_TOGETHER,),
) -> pd.DataFrame:
    """One row for each setting, the one with the largest share first; the first of ``served`` is the baseline.

    ``deviation`` is the largest from the float64 reference, ``margin`` what it leaves of the tolerance, ``spread`` over
    all runs. ``fails`` is the probability that one more run misses the tolerance with any pair (None from one run).
    ``effect`` is the largest difference of a mean cosine from the baseline's; ``blamed`` says whether it exceeds
    ``noise``. ``share`` is the part of the squared effects above the noise; 0 for what is not blamed, and None for the
    baseline and for the settings ``together``, which change several things at once.
    """
    noise = measure_noise(served)
    baseline = served[0]
    rows = [_describe(reference, setting, baseline, tolerance=tolerance, noise=noise) for setting in served]
    single = [row for row in rows[1:] if row["setting"] not in together]
    total = math.fsum(float(row["effect"]) ** 2 for row in single if row["blamed"])
    for row in rows:
        row["share"] = None
    for row in single:
        row["share"] = float(row["effect"]) ** 2 / total if row["blamed"] else 0.0
    rows.sort(key=lambda row: (row["share"] is None, -(row["share"] or 0.0)))
    return pd.DataFrame(rows)


def explain_effects(table: pd.DataFrame) -> str:
    """The ranking in words, for a reader and as the text of `plot_effects`."""
    ranked = table[table["share"].notna()]
    blamed = ranked[ranked["blamed"]]
    noise = float(table["noise"].max())
    if blamed.empty:
        return f"No single setting moves a cosine by more than the noise of {noise:.1e}: none is blamed."
    told = [f"{row['setting']} {row['effect']:.1e} ({row['share']:.0%})" for row in blamed.to_dict("records")]
    below = [str(name) for name in ranked.loc[~ranked["blamed"], "setting"]]
    rest = f" Below the noise, and not blamed: {', '.join(below)}." if below else ""
    return f"What moves a cosine by more than the noise of {noise:.1e}, with its share: {', '.join(told)}.{rest}"


def _describe(
    reference: Sequence[float], setting: ServedPairs, baseline: ServedPairs, *, tolerance: float, noise: float
) -> dict[str, Any]:
    margins = compare_margins(reference, [setting], tolerance=tolerance)
    effect = max(abs(a - b) for a, b in zip(setting.means(), baseline.means(), strict=True))
    return {
        "setting": setting.name,
        "runs": len(setting.cosines),
        "processes": len(set(setting.processes)) or 1,
        "deviation": float(margins["deviation"].abs().max()),
        "spread": float(margins["spread"].max()),
        "margin": float(margins["margin"].min()),
        "fails": _predict(reference, setting, tolerance=tolerance),
        "effect": effect,
        "noise": noise,
        "blamed": effect > noise,
    }


def _predict(reference: Sequence[float], setting: ServedPairs, *, tolerance: float) -> float | None:
    """That any pair fails, taken as independent: at most a little too high. Runs of one process count as one each."""
    passes = 1.0
    for truth, column in zip(reference, zip(*setting.cosines, strict=True), strict=True):
        deviations = _average_processes([cosine - truth for cosine in column], setting.processes)
        fails = predict_failure(deviations, tolerance=tolerance, resolution=RESOLUTION)
        if fails is None:
            return None
        passes *= 1 - fails
    return 1 - passes


def _average_processes(values: Sequence[float], processes: Sequence[int]) -> list[float]:
    """A test starts a server: its runs are processes. Only where there is one process must its requests stand in."""
    if len(set(processes)) < 2:
        return list(values)
    by_process: dict[int, list[float]] = {}
    for value, process in zip(values, processes, strict=True):
        by_process.setdefault(process, []).append(value)
    return [statistics.fmean(part) for part in by_process.values()]
