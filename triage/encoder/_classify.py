"""From two plans and two starts to a verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from triage.encoder._plan import EncoderPlan
from triage.encoder._startup import explain_startups
from triage.engine.phases import Phase
from triage.engine.startup import Startup
from triage.engine.versions import read_versions
from triage.result import Arm, Evidence, Family, Result, Verdict


@dataclass(frozen=True)
class _Decision:
    verdict: Verdict
    cause: str
    needs_gpu: str | None = None


def classify_encoder_warmup(
    *,
    case: str,
    implicit_plan: EncoderPlan | None,
    explicit_plan: EncoderPlan | None,
    implicit_start: Startup | None,
    explicit_start: Startup | None,
) -> Result:
    """Decides whether a limit left open made start-up profile a modality that the test never sends.

    *implicit* is the setting that names only what the test sends; *explicit* sets the rest to 0. Verdicts:

    - ``REPRODUCED``: the implicit start was still in its profile phase at the time limit, the explicit one came up;
    - ``MECHANISM``: implicit profiles an unsent modality, explicit does not, both logs confirm it, both came up;
    - ``NOT_REPRODUCED``: implicit already profiles what the test sends, and its log confirms it;
    - ``INCONCLUSIVE``: evidence is missing, or a plan and its log disagree.
    """
    plans = {"implicit": implicit_plan, "explicit": explicit_plan}
    starts = {"implicit": implicit_start, "explicit": explicit_start}
    decision = _decide(implicit_plan, explicit_plan, implicit_start, explicit_start)
    held = [plan for plan in plans.values() if plan]
    return Result(
        case=case,
        family=Family.GPU_HANG,
        verdict=decision.verdict,
        cause=decision.cause,
        needs_gpu=decision.needs_gpu,
        next_command=_next_command(case, decision.verdict),
        arms=tuple(_judge_arm(name, plans[name], starts[name]) for name in plans),
        evidence=tuple(row for name in plans for row in _list_evidence(name, plans[name], starts[name])),
        findings={
            "plans": {name: plan.to_json() for name, plan in plans.items() if plan},
            "starts": {name: _describe(start) for name, start in starts.items() if start},
        },
        versions=read_versions(),
        snapshots={plan.model: plan.revision for plan in held},
    )


def _decide(
    implicit_plan: EncoderPlan | None,
    explicit_plan: EncoderPlan | None,
    implicit_start: Startup | None,
    explicit_start: Startup | None,
) -> _Decision:
    if implicit_plan is None or implicit_start is None:
        return _unclear("The plan or the start with only the sent modalities limited is missing.")
    culprit = implicit_plan.modality
    if doubt := next(_list_implicit_doubts(implicit_plan, implicit_start), None):
        return _unclear(doubt)
    if culprit in _read_sent(implicit_plan):
        cause = f"Start-up profiles {culprit}, which the test sends, because {implicit_plan.reason}."
        return _Decision(Verdict.NOT_REPRODUCED, cause)
    if explicit_plan is None or explicit_start is None:
        return _unclear(f"Start-up profiles {culprit}, but the plan or the start with {culprit} set to 0 is missing.")
    if doubt := next(_list_explicit_doubts(implicit_plan, explicit_plan, explicit_start), None):
        return _unclear(doubt)
    found = _describe_mechanism(implicit_plan, explicit_plan)
    if not implicit_start.ready:
        found += (
            f" That start was still profiling at its limit of {implicit_start.time_limit_s:g} s; the other came up."
        )
    gpu = f"The hang itself needs the GPU: here the {culprit} shapes passed the encoder and the server came up."
    return _Decision(Verdict.MECHANISM, found, gpu) if implicit_start.ready else _Decision(Verdict.REPRODUCED, found)


def _list_implicit_doubts(plan: EncoderPlan, start: Startup) -> Iterator[str]:
    """What keeps the implicit setting from deciding anything, the first reason first."""
    if not _read_sent(plan):
        yield "The limits name no modality that the test sends."
    if plan.modality is None:
        yield f"Nothing is profiled, because {plan.reason}."
    if doubt := _find_disagreement("implicit", plan, start):
        yield doubt
    hung = start.timed_out and start.log.last_phase is Phase.PROFILE and plan.modality not in _read_sent(plan)
    if not start.ready and not hung:
        yield f"The implicit start failed otherwise than by hanging on an unsent modality: {start.error}"


def _list_explicit_doubts(implicit: EncoderPlan, plan: EncoderPlan, start: Startup) -> Iterator[str]:
    """What keeps the explicit setting from being the counter-proof."""
    culprit = str(implicit.modality)
    if plan.limit_of(culprit) != 0 or plan.modality not in _read_sent(implicit):
        yield f"The explicit setting does not take {culprit} out: it profiles {plan.modality}."
    if _read_surroundings(implicit) != _read_surroundings(plan):
        yield "The two plans differ in more than their limits: another model, length or batch size."
    if doubt := _find_disagreement("explicit", plan, start):
        yield doubt
    if not start.ready:
        yield f"Without {culprit} the start failed as well: {start.error}"


def _describe_mechanism(implicit: EncoderPlan, explicit: EncoderPlan) -> str:
    culprit = str(implicit.modality)
    limits = json.dumps(dict(implicit.limits_given))
    return (
        f"The limits {limits} leave {culprit} at vLLM's default of {implicit.limit_of(culprit)}, so start-up "
        f"profiles {implicit.items} {culprit} item(s) of {implicit.tokens_per_item} tokens although the "
        f"test sends only {', '.join(sorted(_read_sent(implicit)))}; an explicit 0 makes it {explicit.items} "
        f"{explicit.modality} item(s) of {explicit.tokens_per_item}."
    )


def _read_surroundings(plan: EncoderPlan) -> tuple[object, ...]:
    return (plan.revision, plan.dtype, plan.max_model_len, plan.max_num_seqs, plan.max_num_batched_tokens)


def _unclear(cause: str) -> _Decision:
    return _Decision(Verdict.INCONCLUSIVE, cause)


def _read_sent(plan: EncoderPlan) -> set[str]:
    return {modality for modality, limit in plan.limits_given.items() if limit > 0}


def _find_disagreement(name: str, plan: EncoderPlan, start: Startup) -> str | None:
    """How plan and log of one setting fail to confirm each other; None where they do."""
    profiled = start.log.profiled
    if profiled is None:
        return f"The log of the {name} start does not say what was profiled, so nothing confirms its plan."
    planned = (plan.modality, plan.items, plan.encoder_budget)
    seen = (profiled.modality, profiled.items, profiled.encoder_budget)
    if planned != seen:
        return (
            f"Plan and log of the {name} setting disagree: {planned[1]} {planned[0]} item(s) at a budget of "
            f"{planned[2]} were planned, {seen[1]} {seen[0]} item(s) at {seen[2]} were profiled."
        )
    return None


def _judge_arm(name: str, plan: EncoderPlan | None, start: Startup | None) -> Arm:
    label = name if plan is None else f"{name} {json.dumps(dict(plan.limits_given))}"
    if plan is None or start is None:
        return Arm(name=label, verdict=Verdict.INCONCLUSIVE, cause="Its plan or its start is missing.")
    if doubt := _find_disagreement(name, plan, start):
        return Arm(name=label, verdict=Verdict.INCONCLUSIVE, cause=doubt)
    got_in = plan.modality is not None and plan.modality not in _read_sent(plan)
    verdict = Verdict.MECHANISM if got_in else Verdict.NOT_REPRODUCED
    if got_in and not start.ready:
        verdict = Verdict.REPRODUCED if start.timed_out else Verdict.INCONCLUSIVE
    return Arm(name=label, verdict=verdict, cause=f"{explain_startups([start])} Why: {plan.reason}.")


def _list_evidence(name: str, plan: EncoderPlan | None, start: Startup | None) -> list[Evidence]:
    rows = []
    if plan:
        observed = (
            f"{plan.items} {plan.modality} item(s) of {plan.tokens_per_item} tokens, budget {plan.encoder_budget}"
        )
        expected = ", ".join(sorted(_read_sent(plan))) or None
        rows.append(Evidence(statement=f"{name}: vLLM's own budget", observed=observed, expected=expected))
    if start:
        line = start.log.profiled.line if start.log.profiled else "no line about the profiled encoder"
        rows.append(Evidence(statement=f"{name}: the engine's log", observed=line))
        rows.append(Evidence(statement=f"{name}: the start", observed=explain_startups([start])))
    return rows


def _describe(start: Startup) -> dict[str, object]:
    profiled = start.log.profiled
    return {
        "args": list(start.args),
        "ready": start.ready,
        "timed_out": start.timed_out,
        "elapsed_s": round(start.elapsed_s, 1),
        "time_limit_s": start.time_limit_s,
        "error": start.error,
        "image_tokens": start.image_tokens,
        "profiled": None if profiled is None else [profiled.items, profiled.modality, profiled.encoder_budget],
        "phases": [[time.phase.value, time.start_s, time.duration_s] for time in start.log.phases],
    }


def _next_command(case: str, verdict: Verdict) -> str:
    if verdict is Verdict.INCONCLUSIVE:
        return f"triage run {case} --out reports -p time_limit_s=900"
    real = f"triage run {case} --out reports -p model=Qwen/Qwen2.5-VL-3B-Instruct"
    return f"{real}  # on a ROCm node, with the model in its Hub cache"
