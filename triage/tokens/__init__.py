"""Token counts: where two tokenizer snapshots part, and which requests carry the difference.

Upstream: ``tests/models/language/pooling/test_max_tokens_per_doc.py`` (vLLM), which posts one query and one document
to ``/rerank`` four times and compares ``usage.prompt_tokens``.
"""

from triage.tokens._align import name_span
from triage.tokens._attribute import Attribution, attribute_difference
from triage.tokens._causes import (
    DriftCause,
    fit_accounting,
    measure_texts,
    separate_causes,
    tabulate_accounting,
)
from triage.tokens._classify import classify_token_counts
from triage.tokens._compare import (
    Divergence,
    TextComparison,
    compare_named,
    compare_snapshots,
    describe_place,
    list_divergences,
    tabulate_texts,
)
from triage.tokens._expectations import find_expectation, select_history, tabulate_history
from triage.tokens._explain import explain_attribution, explain_stage
from triage.tokens._picture import AlignmentPicture, render_alignment
from triage.tokens._proposal import propose_lines
from triage.tokens._regressions import Regression, plant_regressions
from triage.tokens._rerank import (
    Truncation,
    list_truncations,
    make_texts,
    measure_rerank,
    plot_counts,
    predict_rerank,
    tabulate_counts,
)
from triage.tokens._segments import Limits, Role, SegmentDrift, explain_segments, locate_drift, tabulate_segments
from triage.tokens._snapshots import Snapshot, read_snapshot, read_snapshots
from triage.tokens._stages import Stage
from triage.tokens._tolerance import (
    ExpectedPromptTokens,
    assert_prompt_tokens,
    choose_expectation,
    list_strict_requests,
    tabulate_masking,
    tabulate_strictness,
)

__all__ = [
    "AlignmentPicture",
    "Attribution",
    "Divergence",
    "DriftCause",
    "ExpectedPromptTokens",
    "Limits",
    "Regression",
    "Role",
    "SegmentDrift",
    "Snapshot",
    "Stage",
    "TextComparison",
    "Truncation",
    "assert_prompt_tokens",
    "attribute_difference",
    "choose_expectation",
    "classify_token_counts",
    "compare_named",
    "compare_snapshots",
    "describe_place",
    "explain_attribution",
    "explain_segments",
    "explain_stage",
    "find_expectation",
    "fit_accounting",
    "list_divergences",
    "list_strict_requests",
    "list_truncations",
    "locate_drift",
    "make_texts",
    "measure_rerank",
    "measure_texts",
    "name_span",
    "plant_regressions",
    "plot_counts",
    "predict_rerank",
    "propose_lines",
    "read_snapshot",
    "read_snapshots",
    "render_alignment",
    "select_history",
    "separate_causes",
    "tabulate_accounting",
    "tabulate_counts",
    "tabulate_history",
    "tabulate_masking",
    "tabulate_segments",
    "tabulate_strictness",
    "tabulate_texts",
]
