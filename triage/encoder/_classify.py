"""From two plans and two starts to a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from triage.encoder._plan import EncoderPlan
from triage.encoder._startup import explain_startups
from triage.encoder._tables import show_bytes
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
    real_model: str | None = None,
) -> Result:
    """Decides whether a setting left open made start-up profile what the test never sends.

    *implicit* is the setting that names only what the test sends; *explicit* sets the rest to 0, or the batch to what
    the test needs. What the test never sends is a modality (vLLM #42909), or a batch of more items (vLLM #44952).
    Verdicts:

    - ``REPRODUCED``: the implicit start was still in its profile phase at the time limit, the explicit one came up;
    - ``MECHANISM``: implicit profiles an unsent modality, or more items than explicit, both logs confirm it, both came
      up;
    - ``NOT_REPRODUCED``: implicit already profiles what the test sends, and its log confirms it;
    - ``INCONCLUSIVE``: evidence is missing, or a plan and its log disagree.

    ``real_model`` is what the next command names for a ROCm node.
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
        next_command=_next_command(case, decision.verdict, real_model),
        arms=tuple(_judge_arm(name, plans, starts[name]) for name in plans),
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
    batch_alone = explicit_plan is not None and _is_larger_batch(implicit_plan, explicit_plan)
    if doubt := next(_list_implicit_doubts(implicit_plan, implicit_start, may_hang=batch_alone), None):
        return _unclear(doubt)
    if explicit_plan is None or explicit_start is None:
        return _unclear(f"Start-up profiles {culprit}, but the plan or the start of the explicit setting is missing.")
    if culprit in _read_sent(implicit_plan) and not batch_alone:
        cause = f"Start-up profiles {culprit}, which the test sends, because {implicit_plan.reason}."
        return _Decision(Verdict.NOT_REPRODUCED, cause)
    doubts = _list_batch_doubts if batch_alone else _list_explicit_doubts
    if doubt := next(doubts(implicit_plan, explicit_plan, explicit_start), None):
        return _unclear(doubt)
    found = (_describe_batch if batch_alone else _describe_mechanism)(implicit_plan, explicit_plan)
    if not implicit_start.ready:
        found += (
            f" That start was still profiling at its limit of {implicit_start.time_limit_s:g} s; the other came up."
        )
    gpu = f"The hang itself needs the GPU: here the {culprit} shapes passed the encoder and the server came up."
    return _Decision(Verdict.MECHANISM, found, gpu) if implicit_start.ready else _Decision(Verdict.REPRODUCED, found)


def _is_larger_batch(implicit: EncoderPlan, explicit: EncoderPlan) -> bool:
    """Whether both settings profile what the test sends, and the implicit one more of it at once."""
    same = implicit.modality == explicit.modality and implicit.modality in _read_sent(implicit)
    return same and implicit.items > explicit.items


def _list_implicit_doubts(plan: EncoderPlan, start: Startup, *, may_hang: bool) -> Iterator[str]:
    """What keeps the implicit setting from deciding anything, the first reason first."""
    if not _read_sent(plan):
        yield "The limits name no modality that the test sends."
    if plan.modality is None:
        yield f"Nothing is profiled, because {plan.reason}."
    if doubt := _find_disagreement("implicit", plan, start):
        yield doubt
    unsent = plan.modality not in _read_sent(plan) or may_hang
    hung = start.timed_out and start.log.last_phase is Phase.PROFILE and unsent
    if not start.ready and not hung:
        yield f"The implicit start failed otherwise than by hanging on what the test does not send: {start.error}"


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


def _list_batch_doubts(implicit: EncoderPlan, plan: EncoderPlan, start: Startup) -> Iterator[str]:
    """What keeps the smaller batch from being the counter-proof."""
    if dict(implicit.limits_given) != dict(plan.limits_given) or _read_model(implicit) != _read_model(plan):
        yield "The two plans differ in more than the size of the batch: other limits, another model or length."
    if doubt := _find_disagreement("explicit", plan, start):
        yield doubt
    if not start.ready:
        yield f"With the smaller batch the start failed as well: {start.error}"


def _describe_batch(implicit: EncoderPlan, explicit: EncoderPlan) -> str:
    settings = (("max_num_seqs", "sequences"), ("max_num_batched_tokens", "tokens in a step"))
    changed = [
        f"{name} {getattr(implicit, name)} instead of {getattr(explicit, name)} {unit}"
        for name, unit in settings
        if getattr(implicit, name) != getattr(explicit, name)
    ]
    size, less = (_show_activation(plan) for plan in (implicit, explicit))
    return (
        f"With {' and '.join(changed) or 'the larger batch'} start-up profiles {implicit.items} {implicit.modality} "
        f"items of {implicit.tokens_per_item} tokens at once{size}, although the test sends "
        f"{implicit.limits_given[str(implicit.modality)]} in a prompt; explicitly it is {explicit.items}{less}."
    )


def _show_activation(plan: EncoderPlan) -> str:
    return f" (activations of about {show_bytes(plan.activation.size_bytes)})" if plan.activation else ""


def _describe_mechanism(implicit: EncoderPlan, explicit: EncoderPlan) -> str:
    culprit = str(implicit.modality)
    return (
        f"The limits {dict(implicit.limits_given)} leave {culprit} at vLLM's default of {implicit.limit_of(culprit)}, "
        f"so start-up profiles {implicit.items} {culprit} item(s) of {implicit.tokens_per_item} tokens although the "
        f"test sends only {', '.join(sorted(_read_sent(implicit)))}; an explicit 0 makes it {explicit.items} "
        f"{explicit.modality} item(s) of {explicit.tokens_per_item}."
    )


def _read_model(plan: EncoderPlan) -> tuple[object, ...]:
    return (plan.revision, plan.dtype, plan.max_model_len)


def _read_surroundings(plan: EncoderPlan) -> tuple[object, ...]:
    return (*_read_model(plan), plan.max_num_seqs, plan.max_num_batched_tokens)


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


def _judge_arm(name: str, plans: Mapping[str, EncoderPlan | None], start: Startup | None) -> Arm:
    plan, other = plans[name], next(plan for key, plan in plans.items() if key != name)
    label = name if plan is None else f"{name} {dict(plan.limits_given)}"
    if plan and other and plan.max_num_seqs != other.max_num_seqs:
        label += f", max_num_seqs {plan.max_num_seqs}"
    if plan is None or start is None:
        return Arm(name=label, verdict=Verdict.INCONCLUSIVE, cause="Its plan or its start is missing.")
    if doubt := _find_disagreement(name, plan, start):
        return Arm(name=label, verdict=Verdict.INCONCLUSIVE, cause=doubt)
    got_in = plan.modality is not None and plan.modality not in _read_sent(plan)
    got_in = got_in or (name == "implicit" and other is not None and _is_larger_batch(plan, other))
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


def _next_command(case: str, verdict: Verdict, real_model: str | None) -> str:
    command = f"triage run {case} --out reports"
    if verdict is Verdict.INCONCLUSIVE:
        return f"{command} -p time_limit_s=900"
    if real_model is None:
        return f"{command}  # on a ROCm node"
    return f"{command} -p model={real_model}  # on a ROCm node, with the model in its Hub cache"
