"""What start-up profiling pushes through a multimodal encoder, and whether a limit left open put it there.

Upstream: vLLM PR #42909 changed ``limit_mm_per_prompt`` of an image-only test from ``{"image": 1}`` to
``{"image": 1, "video": 0}``, because a GPU hung in start-up on shapes that the test never sends.

>>> read_startup_phases("INFO 11-23 15:26:01 [gpu_worker.py:1] Starting to load model m").last_phase.value
'weights'
"""

from triage.encoder._activation import Activation, Stage, estimate_activation
from triage.encoder._classify import classify_encoder_warmup
from triage.encoder._command import ModelImpl, PlanAnswer, answer_plan, read_inputs, read_limits, read_model_impl
from triage.encoder._plan import Candidate, EncoderPlan, plan_encoder
from triage.encoder._plot import plot_phases, plot_plans
from triage.encoder._setting import Setting, plan_setting
from triage.encoder._startup import compare_startups, explain_startups
from triage.encoder._suggest import compare_suggestion, show_flag, suggest_limits
from triage.encoder._tables import (
    compare_activations,
    compare_inputs,
    compare_plans,
    diff_plans,
    explain_activation,
    explain_difference,
    explain_plans,
)
from triage.engine.startup import Startup, measure_startup, profiling_args, read_startup_phases

__all__ = [
    "Activation",
    "Candidate",
    "EncoderPlan",
    "ModelImpl",
    "PlanAnswer",
    "Setting",
    "Stage",
    "Startup",
    "answer_plan",
    "classify_encoder_warmup",
    "compare_activations",
    "compare_inputs",
    "compare_plans",
    "compare_startups",
    "compare_suggestion",
    "diff_plans",
    "estimate_activation",
    "explain_activation",
    "explain_difference",
    "explain_plans",
    "explain_startups",
    "measure_startup",
    "plan_encoder",
    "plan_setting",
    "plot_phases",
    "plot_plans",
    "profiling_args",
    "read_inputs",
    "read_limits",
    "read_model_impl",
    "read_startup_phases",
    "show_flag",
    "suggest_limits",
]
