"""Decides, from the evidence it is given and nothing else, whether a checkpoint's keys stop it from loading."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from triage.checkpoints._confirm import EngineStart
from triage.checkpoints._explain import explain_end
from triage.checkpoints._fold import fold_layers
from triage.checkpoints._model import ModelDiff
from triage.result import Arm, Evidence, Family, Result, Verdict

_QUOTED_CHARACTERS = 160


def classify_checkpoint_keys(
    *,
    case: str,
    historical: ModelDiff | None,
    control: ModelDiff | None,
    installed: ModelDiff | None,
    engine: EngineStart | None = None,
    traced_key: str | None = None,
    checkpoint: str | None = None,
    snapshots: Mapping[str, str] | None = None,
    versions: Mapping[str, str | None] | None = None,
) -> Result:
    """Whether the keys of a checkpoint stop it from loading, and which rule is to blame.

    ``historical`` and ``installed`` are the checkpoint under two pairs of versions; ``control`` is the same model in
    the new layout under the historical pair, without which the layout cannot be blamed; ``engine`` is a real start of
    the installed vLLM on the checkpoint, None where none was asked for. ``checkpoint`` is what the next command names.

    `REPRODUCED` when a pair refuses the checkpoint's keys and accepts the control's; `NOT_REPRODUCED` when all load.
    Without a piece of evidence, or where two pieces contradict each other, `INCONCLUSIVE`.

    >>> classify_checkpoint_keys(case="c", historical=None, control=None, installed=None).verdict.value
    'INCONCLUSIVE'
    """
    old, new_layout = _judge_pair("historical pair", historical), _judge_pair("historical pair, new layout", control)
    keys_now = _judge_pair("installed pair", installed)
    arms = (old, new_layout, _judge_engine(keys_now, engine))
    unconfirmed = engine is None and keys_now.verdict is not Verdict.INCONCLUSIVE
    verdict, cause = _decide(*arms, unconfirmed=unconfirmed, historical=historical, traced_key=traced_key)
    compared = {"historical": historical, "control": control, "installed": installed}
    evidence = [
        row for arm, diff in zip(arms, compared.values(), strict=True) if diff for row in _observe(arm.name, diff)
    ]
    if engine is not None:
        evidence.append(_observe_engine(engine))
    return Result(
        case=case,
        family=Family.CHECKPOINT_KEYS,
        verdict=verdict,
        cause=cause,
        next_command=_suggest(case, verdict, historical=historical, installed=installed, checkpoint=checkpoint),
        arms=arms,
        evidence=tuple(evidence),
        findings={name: _record(diff, traced_key) for name, diff in compared.items() if diff},
        snapshots=dict(snapshots or {}),
        versions=dict(versions or {}),
    )


def _judge_pair(name: str, compared: ModelDiff | None) -> Arm:
    """One pair: do the diff of the keys and vLLM's own loader say the same?"""
    if compared is None:
        return Arm(name=name, verdict=Verdict.INCONCLUSIVE, cause="Not examined.")
    name = f"{name}: {compared.label}"
    diff, weights = compared.diff, compared.weights
    if weights.gaps:
        cause = f"The trace of {len(weights.gaps)} keys does not lead to vLLM's own name."
        return Arm(name=name, verdict=Verdict.INCONCLUSIVE, cause=cause)
    if contradiction := _find_contradiction(compared):
        return Arm(name=name, verdict=Verdict.INCONCLUSIVE, cause=contradiction)
    if diff.whole:
        cause = f"All {len(diff.matched)} tensors reach a parameter, and vLLM's loader takes them all."
        return Arm(name=name, verdict=Verdict.NOT_REPRODUCED, cause=cause)
    return Arm(name=name, verdict=Verdict.REPRODUCED, cause=_describe_misfit(compared))


def _find_contradiction(compared: ModelDiff) -> str | None:
    diff, error = compared.diff, compared.weights.load_error
    misfit = bool(diff.unexpected or diff.mismatched)
    if error is None:
        # The loader counts a fused parameter as loaded when a part of it is.
        partial, wanted = compared.weights.partial.keys(), compared.weights.expected.keys()
        left = wanted - compared.weights.loaded - partial
        if misfit:
            return "The key diff finds misfits, and vLLM's loader takes the checkpoint."
        if left != (wanted & set(diff.missing)) - partial:
            return f"The key diff misses {len(diff.missing)} parameters, vLLM's loader left {len(left)}."
        return None
    named = error.partition("named '")[2].partition("'")[0]
    if named and not any(f"{name}.".startswith(f"{named}.") for name in diff.unexpected.values()):
        return f"vLLM's loader stumbles over {named}, where the key diff sees no misfit."
    return None if misfit else f"The key diff sees no misfit, and vLLM's loader fails: {_quote(error)}"


def _describe_misfit(compared: ModelDiff) -> str:
    diff = compared.diff
    parts = []
    if diff.unexpected:
        parts.append(f"{len(diff.unexpected)} keys reach no parameter ({_name_module(list(diff.unexpected))})")
    if diff.mismatched:
        parts.append(f"{len(diff.mismatched)} tensors have another shape than their parameter")
    if diff.missing:
        parts.append(f"{len(diff.missing)} parameters get no tensor ({_name_module(list(diff.missing))})")
    return "; ".join(parts) + "."


def _name_module(keys: list[str]) -> str:
    """The module that all keys share, or the key itself where there is one."""
    if len(keys) == 1:
        return keys[0]
    common = []
    for parts in zip(*(key.split(".") for key in keys), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join([*common, "*"]) if common else ", ".join(fold_layers(keys)[:2]) + " and others"


def _judge_engine(arm: Arm, engine: EngineStart | None) -> Arm:
    """The installed pair's verdict after a real start. The engine's word weighs more than the keys'."""
    if arm.verdict is Verdict.INCONCLUSIVE:
        return arm
    fits = arm.verdict is Verdict.NOT_REPRODUCED
    if engine is None:
        verdict, cause = Verdict.INCONCLUSIVE, f"{arm.cause} No engine was started to confirm it."
    elif engine.refused_keys:
        verdict = Verdict.REPRODUCED
        cause = f"The keys seem to fit, and the real engine refuses them: {engine.error}" if fits else arm.cause
    elif not engine.answered:
        verdict = Verdict.INCONCLUSIVE
        cause = f"The real engine did not answer: {_quote(engine.error or 'no token came back')}"
    elif not engine.transformers_backend:
        verdict = Verdict.INCONCLUSIVE
        cause = f"{arm.cause} The engine did not say that it used the Transformers backend: its start proves nothing."
    elif fits:
        verdict, cause = arm.verdict, f"{arm.cause} A real engine loaded it and answered a request."
    else:
        verdict = Verdict.INCONCLUSIVE
        cause = f"The real engine loads the checkpoint, although the key diff says: {arm.cause}"
    return arm.model_copy(update={"verdict": verdict, "cause": cause})


def _decide(
    old: Arm, control: Arm, now: Arm, *, unconfirmed: bool, historical: ModelDiff | None, traced_key: str | None
) -> tuple[Verdict, str]:
    for arm in (old, control) if unconfirmed else (old, control, now):
        if arm.verdict is Verdict.INCONCLUSIVE:
            return Verdict.INCONCLUSIVE, f"{arm.name}: {arm.cause}"
    if old.verdict is Verdict.NOT_REPRODUCED:
        if now.verdict is Verdict.NOT_REPRODUCED:
            return Verdict.NOT_REPRODUCED, f"Both pairs load the checkpoint. {old.name}: {old.cause}"
        return now.verdict, f"The historical pair loads the checkpoint; {now.name}: {now.cause}"
    if control.verdict is Verdict.REPRODUCED:
        cause = f"The historical pair refuses the new layout too, so the layout is not to blame: {control.cause}"
        return Verdict.INCONCLUSIVE, cause
    return Verdict.REPRODUCED, f"{old.cause} {_explain(historical, traced_key)}".rstrip()


def _explain(compared: ModelDiff | None, traced_key: str | None) -> str:
    if compared is None or traced_key is None or traced_key not in compared.weights.traces:
        return ""
    return explain_end(compared, traced_key)


def _suggest(
    case: str, verdict: Verdict, *, historical: ModelDiff | None, installed: ModelDiff | None, checkpoint: str | None
) -> str:
    """After a reproduction the installed vLLM with the old Transformers tells which of the two mends it."""
    if not verdict.conclusive:
        return "triage doctor"
    command = f"triage run {case} --out reports"
    if verdict is Verdict.REPRODUCED and historical and installed:
        old, now = historical.weights.versions, installed.weights.versions
        if old.vllm != now.vllm:
            command += f" -p historical_vllm=installed -p historical_transformers={old.transformers}"
    return command + (f" -p checkpoint={shlex.quote(checkpoint)}" if checkpoint else "")


def _observe(name: str, compared: ModelDiff) -> list[Evidence]:
    error = compared.weights.load_error
    return [
        Evidence(
            statement=f"{name}: keys after vLLM's own mapper",
            observed=compared.describe(),
            expected=f"{len(compared.weights.expected)} matched",
        ),
        Evidence(
            statement=f"{name}: vLLM's own loader, on tensors without data",
            observed=_quote(error) if error else f"loaded {len(compared.weights.loaded)} of them",
            expected=f"loaded {len(compared.weights.expected)} of them",
        ),
    ]


def _observe_engine(engine: EngineStart) -> Evidence:
    observed = f"ready after {engine.startup_s:.0f} s, {engine.completion_tokens} tokens" if engine.startup_s else ""
    return Evidence(
        statement="installed pair: a real engine start on the checkpoint",
        observed=observed if engine.error is None else _quote(engine.error),
        expected="loads and answers",
    )


def _record(compared: ModelDiff, traced_key: str | None) -> dict[str, Any]:
    weights = compared.weights
    trace = [
        {"rule": str(step.rule), "before": step.before, "after": step.after}
        for step in weights.traces.get(traced_key or "", ())
    ]
    return {
        "vllm": weights.versions.vllm,
        "transformers": weights.versions.transformers,
        "model_class": weights.model_class,
        "matched": len(compared.diff.matched),
        "missing_keys": list(compared.diff.missing),
        "unexpected_keys": list(compared.diff.unexpected),
        "mismatched_keys": [
            {"key": m.key, "checkpoint_shape": list(m.checkpoint_shape), "model_shape": list(m.model_shape)}
            for m in compared.diff.mismatched
        ],
        "ignored_keys": list(compared.diff.ignored),
        "rules": [str(rule) for rule in weights.rules],
        "trace": trace if traced_key not in weights.gaps else [],
        "load_error": weights.load_error,
    }


def _quote(text: str) -> str:
    return text if len(text) <= _QUOTED_CHARACTERS else text[: _QUOTED_CHARACTERS - 1] + "…"
