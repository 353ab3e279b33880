"""Server settings that leak into a test by default, and what they do to its numbers.

Upstream: vLLM PR #42909 passed ``--no-enable-prefix-caching --max-num-seqs 1`` and ``VLLM_ROCM_USE_SKINNY_GEMM=0`` to
the server of the GritLM test, whose cosines came near their tolerance on ROCm with the defaults.

>>> compare_cosines([1.0, 0.0], [1.0, 1.0]).__round__(3)
0.707
"""

from triage.engine.resolved import ResolvedConfig, resolve_config
from triage.settings._classify import classify_settings_leak
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
from triage.settings._plot import plot_margins
from triage.settings._resolved import compare_resolved, list_idle, list_leaks
from triage.settings._stand_in import choose_model

__all__ = [
    "PairTexts",
    "ResolvedConfig",
    "ServedPairs",
    "check_tolerance",
    "choose_model",
    "classify_settings_leak",
    "compare_cosines",
    "compare_margins",
    "compare_resolved",
    "explain_margins",
    "list_idle",
    "list_leaks",
    "measure_pairs",
    "measure_reference",
    "platform_args",
    "plot_margins",
    "resolve_config",
]
