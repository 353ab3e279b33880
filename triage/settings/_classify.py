"""From two resolved configurations and two measurements to a verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from triage.engine.environment import Platform, read_platform
from triage.engine.resolved import ResolvedConfig
from triage.engine.versions import read_versions
from triage.result import Arm, Evidence, Family, Result, Verdict
from triage.settings._effect import explain_effects
from triage.settings._leaks import DefaultSource, Leak
from triage.settings._pairs import (
    ServedPairs,
    check_tolerance,
    compare_margins,
    explain_margins,
    measure_effect,
    measure_noise,
)
from triage.settings._resolved import compare_resolved, list_idle, list_leaks

_ROCM_PREFIX = "VLLM_ROCM_"


@dataclass(frozen=True)
class _Measured:
    """The evidence, whole."""

    default_config: ResolvedConfig
    explicit_config: ResolvedConfig
    reference: Sequence[float]
    default_pairs: ServedPairs
    explicit_pairs: ServedPairs
    tolerance: float

    @property
    def served(self) -> tuple[ServedPairs, ServedPairs]:
        return self.default_pairs, self.explicit_pairs

    @property
    def leaks(self) -> tuple[str, ...]:
        return list_leaks(self.default_config, self.explicit_config)

    def worst(self, pairs: ServedPairs) -> float:
        """The smallest margin of one setting."""
        return float(compare_margins(self.reference, [pairs], tolerance=self.tolerance)["margin"].min())


def classify_settings_leak(
    *,
    case: str,
    default_config: ResolvedConfig | None,
    explicit_config: ResolvedConfig | None,
    reference: Sequence[float] | None,
    default_pairs: ServedPairs | None,
    explicit_pairs: ServedPairs | None,
    tolerance: float,
    model_note: str = "",
    revision: str | None = None,
    defaults: Sequence[Leak] = (),
    effects: pd.DataFrame | None = None,
) -> Result:
    """Decides whether defaults that the test left open reach its server, and what they do to its numbers.

    - ``REPRODUCED``: with the defaults a pair is outside the tolerance around the float64 reference, with the explicit
      settings none is, and the two differ by more than the noise;
    - ``MECHANISM``: settings left to defaults really resolve to other values, both arms were measured, and neither
      crosses the tolerance here;
    - ``NOT_REPRODUCED``: nothing that the test left open resolves to another value, and no pair is outside;
    - ``INCONCLUSIVE``: evidence is missing, is no number or does not belong together, or the explicit settings fail as
      well, or a pair is outside although nothing leaks.

    ``tolerance`` is absolute, on the cosine; one that is negative or no number is an `InputError`. ``model_note`` says
    which model stood in, ``revision`` its snapshot. ``defaults`` (see `triage.settings.find_leaks`) and ``effects``
    (`triage.settings.compare_effects`) add to the evidence; the verdict rests on neither.
    """
    evidence: tuple[Evidence, ...] = ()
    findings: dict[str, object] = {}
    arms: tuple[Arm, ...] = ()
    needs_gpu = None
    check_tolerance(tolerance)
    whole = _put_together(
        default_config, explicit_config, reference, default_pairs, explicit_pairs, tolerance=tolerance
    )
    if isinstance(whole, str):
        verdict, cause = Verdict.INCONCLUSIVE, whole
    else:
        verdict, cause = _decide(whole)
        if verdict is Verdict.MECHANISM and read_platform() is not Platform.ROCM:
            needs_gpu = _say_needs_gpu(whole.leaks)
        evidence, findings, arms = _list_evidence(whole), _describe(whole), _judge_arms(whole)
    evidence += _list_defaults(defaults)
    findings |= _describe_more(defaults, effects)
    if effects is not None:
        evidence += (Evidence(statement="each setting alone", observed=explain_effects(effects)),)
    if model_note:
        evidence = (Evidence(statement="the model", observed=model_note), *evidence)
    return Result(
        case=case,
        family=Family.SETTINGS_LEAK,
        verdict=verdict,
        cause=cause,
        needs_gpu=needs_gpu,
        next_command=_next_command(case, verdict),
        arms=arms,
        evidence=evidence,
        findings=findings,
        versions=read_versions(),
        snapshots={"model": revision} if revision else {},
    )


def _put_together(
    default_config: ResolvedConfig | None,
    explicit_config: ResolvedConfig | None,
    reference: Sequence[float] | None,
    default_pairs: ServedPairs | None,
    explicit_pairs: ServedPairs | None,
    *,
    tolerance: float,
) -> _Measured | str:
    """The whole evidence, or why there is none."""
    if default_config is None or explicit_config is None:
        return "One of the two resolved configurations is missing."
    if default_pairs is None or explicit_pairs is None:
        return "One of the two settings was not measured."
    if reference is None:
        return "There is no float64 reference to measure against."
    if fault := _find_fault(reference, default_pairs, explicit_pairs):
        return fault
    return _Measured(default_config, explicit_config, reference, default_pairs, explicit_pairs, tolerance)


def _find_fault(reference: Sequence[float], default_pairs: ServedPairs, explicit_pairs: ServedPairs) -> str | None:
    """Why three measurements cannot be compared; None where they can."""
    shapes = {default_pairs.pairs, explicit_pairs.pairs}
    if len(shapes) > 1 or len(reference) != len(default_pairs.pairs):
        return "The reference and the two measurements are not of the same pairs."
    cosines = [*reference, *(c for pairs in (default_pairs, explicit_pairs) for row in pairs.cosines for c in row)]
    if not all(map(math.isfinite, cosines)):
        return "A cosine is not a number: a setting or the reference gave a vector that holds NaN or infinity."
    if default_pairs.prompt_tokens != explicit_pairs.prompt_tokens:
        return (
            f"The two servers counted {default_pairs.prompt_tokens} and {explicit_pairs.prompt_tokens} prompt tokens, "
            "so they did not embed the same input."
        )
    return None


def _decide(measured: _Measured) -> tuple[Verdict, str]:
    default, explicit = (measured.worst(pairs) for pairs in measured.served)
    if not measured.leaks:
        cause = "Nothing that the test leaves to a default resolves to another value"
        if min(default, explicit) < 0:
            missed = f"a pair misses the tolerance by {-min(default, explicit):.1e}"
            return Verdict.INCONCLUSIVE, f"{cause}, and yet {missed}: the reason lies elsewhere."
        return Verdict.NOT_REPRODUCED, f"{cause}."
    effect, noise = measure_effect(*measured.served), measure_noise(measured.served)
    named = _name_leaks(measured)
    moved = (
        f"together they move a cosine by up to {effect:.1e}, above the noise of {noise:.1e}"
        if effect > noise
        else f"they move no cosine above the noise ({effect:.1e} against {noise:.1e}), so none is blamed for a number"
    )
    if explicit < 0:
        return Verdict.INCONCLUSIVE, (
            f"With explicit settings a pair misses the tolerance as well, by {-explicit:.1e}: the defaults are not the "
            "cause, or not alone."
        )
    if default < 0:
        if effect > noise:
            return Verdict.REPRODUCED, f"Defaults leak in ({named}); {moved}, and beyond the tolerance."
        return Verdict.INCONCLUSIVE, f"Defaults leak in ({named}) and a pair misses the tolerance, but {moved}."
    return Verdict.MECHANISM, (
        f"The test leaves to defaults what the ROCm settings make explicit: {named}. Here {moved}. The smallest margin "
        f"to the tolerance of {measured.tolerance:g} is {default:.2e} with the defaults and {explicit:.2e} with the "
        "explicit settings."
    )


def _say_needs_gpu(leaks: Sequence[str]) -> str:
    sentence = "How far the defaults move the cosines on ROCm needs a ROCm GPU"
    if switches := [name for name in leaks if name.startswith(_ROCM_PREFIX)]:
        return f"{sentence}: what {' and '.join(switches)} switches exists only there."
    return f"{sentence}: its kernels round otherwise than a CPU's."


def _name_leaks(measured: _Measured) -> str:
    before, after = (c.settings | c.variables for c in (measured.default_config, measured.explicit_config))
    values = ((name, json.dumps(before.get(name)), json.dumps(after.get(name))) for name in measured.leaks)
    return ", ".join(f"{name} ({old} by default, {new} explicitly)" for name, old, new in values)


def _next_command(case: str, verdict: Verdict) -> str:
    if verdict is Verdict.INCONCLUSIVE:
        return f"triage run {case} --out reports -p repeats=10"
    if read_platform() is Platform.ROCM:
        return f"triage run {case} --out reports"
    return f"triage run {case} --out reports  # on a ROCm node"


def _judge_arms(measured: _Measured) -> tuple[Arm, ...]:
    arms = []
    for pairs in measured.served:
        inside = measured.worst(pairs) >= 0
        cause = explain_margins(measured.reference, [pairs], tolerance=measured.tolerance)
        verdict = Verdict.NOT_REPRODUCED if inside else Verdict.REPRODUCED
        arms.append(Arm(name=pairs.name, verdict=verdict, cause=cause))
    return tuple(arms)


def _list_defaults(defaults: Sequence[Leak]) -> tuple[Evidence, ...]:
    """The engine arguments whose default is decided by the device, the platform or the model."""
    decided = {DefaultSource.DEVICE_AND_USAGE, DefaultSource.PLATFORM, DefaultSource.MODEL}
    return tuple(
        Evidence(
            statement=f"{leak.name}, left to its default, is decided by {leak.source}",
            observed=", ".join(f"{json.dumps(value)} ({label})" for label, value in leak.values.items()),
            expected=leak.pin,
        )
        for leak in defaults
        if leak.source in decided
        and "." not in leak.name
        and not any(isinstance(v, list) for v in leak.values.values())
    )


def _describe_more(defaults: Sequence[Leak], effects: pd.DataFrame | None) -> dict[str, object]:
    told: dict[str, object] = {}
    if defaults:
        told["defaults"] = [
            {"name": d.name, "values": dict(d.values), "source": d.source.value, "place": d.place, "pin": d.pin}
            for d in defaults
        ]
    if effects is not None:
        told["effects"] = json.loads(effects.to_json(orient="records"))
    return told


def _list_evidence(measured: _Measured) -> tuple[Evidence, ...]:
    table = compare_resolved(measured.default_config, measured.explicit_config)
    leaks = [
        Evidence(
            statement=f"{row['name']}, left to its default",
            observed=str(row["before"]) or "unset",
            expected=str(row["after"]),
        )
        for row in table.to_dict("records")
        if row["name"] in measured.leaks
    ]
    idle = [
        Evidence(statement=f"{name}, made explicit", observed="the default resolves to the same value here")
        for name in list_idle(measured.default_config, measured.explicit_config)
    ]
    margins = [
        Evidence(
            statement=f"smallest margin with {pairs.name}",
            observed=f"{measured.worst(pairs):.2e}",
            expected="above 0",
        )
        for pairs in measured.served
    ]
    return (*leaks, *idle, *margins)


def _describe(measured: _Measured) -> dict[str, object]:
    changed = compare_resolved(measured.default_config, measured.explicit_config)
    margins = compare_margins(measured.reference, measured.served, tolerance=measured.tolerance)
    return {
        "leaks": list(measured.leaks),
        "idle": list(list_idle(measured.default_config, measured.explicit_config)),
        "resolved": changed.to_dict("records"),
        "margins": margins.to_dict("records"),
        "tolerance": measured.tolerance,
        "effect": measure_effect(*measured.served),
        "noise": measure_noise(measured.served),
        "prompt_tokens": measured.default_pairs.prompt_tokens,
    }
