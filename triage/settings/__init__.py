"""Server settings that leak into a test by default, and what they do to its numbers.

Upstream: vLLM PR #42909 passed ``--no-enable-prefix-caching --max-num-seqs 1`` and ``VLLM_ROCM_USE_SKINNY_GEMM=0`` to
the server of the GritLM test, whose cosines came near their tolerance on ROCm with the defaults.

The names load on first use: a capture must not wait for pandas.

>>> from triage import settings
>>> settings.compare_cosines([1.0, 0.0], [1.0, 1.0]).__round__(3)
0.707
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triage.engine.resolved import ResolveAs, ResolvedConfig, resolve_config, resolve_platforms
    from triage.settings._bisect import BisectResult, bisect_environment, plan_bisect
    from triage.settings._capture import capture_environment
    from triage.settings._classify import classify_settings_leak
    from triage.settings._diff import Change, Difference, EnvironmentDiff, compare_captures
    from triage.settings._effect import (
        MeasuredSettings,
        Setting,
        compare_effects,
        explain_effects,
        join_processes,
        measure_settings,
        plan_settings,
    )
    from triage.settings._issue import render_for_issue
    from triage.settings._leaks import DefaultSource, Leak, find_leaks, list_pins, tabulate_leaks
    from triage.settings._pairs import (
        PairTexts,
        ServedPairs,
        check_tolerance,
        compare_cosines,
        compare_margins,
        explain_margins,
        measure_pairs,
        measure_reference,
        platform_args,
    )
    from triage.settings._plot import plot_effects, plot_margins
    from triage.settings._record import EnvironmentCapture, read_capture
    from triage.settings._resolved import compare_resolved, list_idle, list_leaks
    from triage.settings._stand_in import choose_model
    from triage.settings._tables import tabulate_capture

_HOME = {
    "BisectResult": "settings._bisect",
    "Change": "settings._diff",
    "DefaultSource": "settings._leaks",
    "Difference": "settings._diff",
    "EnvironmentCapture": "settings._record",
    "EnvironmentDiff": "settings._diff",
    "Leak": "settings._leaks",
    "MeasuredSettings": "settings._effect",
    "PairTexts": "settings._pairs",
    "ResolveAs": "engine.resolved",
    "ResolvedConfig": "engine.resolved",
    "ServedPairs": "settings._pairs",
    "Setting": "settings._effect",
    "bisect_environment": "settings._bisect",
    "capture_environment": "settings._capture",
    "check_tolerance": "settings._pairs",
    "choose_model": "settings._stand_in",
    "classify_settings_leak": "settings._classify",
    "compare_captures": "settings._diff",
    "compare_cosines": "settings._pairs",
    "compare_effects": "settings._effect",
    "compare_margins": "settings._pairs",
    "compare_resolved": "settings._resolved",
    "explain_effects": "settings._effect",
    "explain_margins": "settings._pairs",
    "find_leaks": "settings._leaks",
    "join_processes": "settings._effect",
    "list_idle": "settings._resolved",
    "list_leaks": "settings._resolved",
    "list_pins": "settings._leaks",
    "measure_pairs": "settings._pairs",
    "measure_reference": "settings._pairs",
    "measure_settings": "settings._effect",
    "plan_bisect": "settings._bisect",
    "plan_settings": "settings._effect",
    "platform_args": "settings._pairs",
    "plot_effects": "settings._plot",
    "plot_margins": "settings._plot",
    "read_capture": "settings._record",
    "render_for_issue": "settings._issue",
    "resolve_config": "engine.resolved",
    "resolve_platforms": "engine.resolved",
    "tabulate_capture": "settings._tables",
    "tabulate_leaks": "settings._leaks",
}

__all__ = [
    "BisectResult",
    "Change",
    "DefaultSource",
    "Difference",
    "EnvironmentCapture",
    "EnvironmentDiff",
    "Leak",
    "MeasuredSettings",
    "PairTexts",
    "ResolveAs",
    "ResolvedConfig",
    "ServedPairs",
    "Setting",
    "bisect_environment",
    "capture_environment",
    "check_tolerance",
    "choose_model",
    "classify_settings_leak",
    "compare_captures",
    "compare_cosines",
    "compare_effects",
    "compare_margins",
    "compare_resolved",
    "explain_effects",
    "explain_margins",
    "find_leaks",
    "join_processes",
    "list_idle",
    "list_leaks",
    "list_pins",
    "measure_pairs",
    "measure_reference",
    "measure_settings",
    "plan_bisect",
    "plan_settings",
    "platform_args",
    "plot_effects",
    "plot_margins",
    "read_capture",
    "render_for_issue",
    "resolve_config",
    "resolve_platforms",
    "tabulate_capture",
    "tabulate_leaks",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"triage.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
