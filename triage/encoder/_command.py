"""What `triage plan` answers: reading its options, and the answer as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from triage.encoder._plan import EncoderPlan, plan_encoder
from triage.encoder._suggest import show_flag, suggest_limits
from triage.encoder._tables import diff_plans, explain_activation, explain_difference, explain_plans, show_bytes
from triage.engine.models import find_model
from triage.errors import InputError


class ModelImpl(StrEnum):
    """Whose implementation of the model vLLM runs."""

    AUTO = "auto"
    VLLM = "vllm"
    TRANSFORMERS = "transformers"


@dataclass(frozen=True, kw_only=True)
class PlanAnswer:
    """One plan; a second one where a second setting was named; a suggestion where the test's inputs were."""

    plan: EncoderPlan
    other: EncoderPlan | None = None
    suggestion: Mapping[str, int] | None = None

    @property
    def plans(self) -> dict[str, EncoderPlan]:
        """The plans by the limits that were asked for, as a reader would write them."""
        named = [(json.dumps(dict(plan.limits_given)), plan) for plan in (self.plan, self.other) if plan]
        if len(named) == 2 and named[0][0] == named[1][0]:
            named[1] = (f"{named[1][0]} again", named[1][1])
        return dict(named)

    def to_json(self) -> dict[str, Any]:
        """The contract of ``triage plan --json``: the fields of the plan, and the second setting under ``against``."""
        answer = self.plan.to_json() | {"explanation": explain_plans({"plan": self.plan}).removeprefix("plan: ")}
        if self.other:
            answer["against"] = self.other.to_json()
            answer["difference"] = {
                "changed": diff_plans(self.plan, self.other),
                "explanation": explain_difference(self.plan, self.other),
            }
        if self.suggestion is not None:
            answer["suggestion"] = {
                "limit_mm_per_prompt": dict(self.suggestion),
                "flag": show_flag(self.suggestion),
            }
        return answer

    def list_sentences(self) -> list[str]:
        """What a reader is told beside the table."""
        inputs = ", ".join(
            f"{t.name} {'x'.join(map(str, t.shape))} {t.dtype} ({show_bytes(t.size_bytes)})" for t in self.plan.inputs
        )
        sentences = [explain_plans(self.plans)]
        if inputs:
            sentences.append(f"The dummy batch: {inputs}.")
        sentences.append(explain_activation(self.plan))
        if self.other:
            sentences.append(f"The difference: {explain_difference(self.plan, self.other)}")
        if self.suggestion is not None:
            sentences.append(f"To cover what the test sends, and nothing else: {show_flag(self.suggestion)}")
        return sentences


def answer_plan(
    model: str,
    *,
    limits: str | None = None,
    against: str | None = None,
    suggest: str | None = None,
    max_model_len: int | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    model_impl: ModelImpl | None = None,
) -> PlanAnswer:
    """Plans one setting, and a second one where ``against`` or ``suggest`` names it.

    ``limits`` and ``against`` are JSON, as for ``--limit-mm-per-prompt``; ``suggest`` is ``image=1,video=2``, what the
    test really sends, and its suggestion is the second setting.

    Raises `InputError` for text that is none of these, else as `plan_encoder`.
    """
    if against is not None and suggest is not None:
        raise InputError("--against and --suggest both name the second setting.", hint="Leave one of them out.")
    first = {} if limits is None else read_limits(limits, option="--limit-mm-per-prompt")
    second = None if against is None else read_limits(against, option="--against")
    inputs = None if suggest is None else read_inputs(suggest)
    folder = find_model(model)

    def plan(given: Mapping[str, int]) -> EncoderPlan:
        return plan_encoder(
            folder,
            limit_mm_per_prompt=given,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            model_impl=model_impl.value if model_impl else None,
        )

    found = plan(first)
    suggestion = None if inputs is None else suggest_limits(found, inputs)
    other = second if second is not None else suggestion
    return PlanAnswer(plan=found, other=None if other is None else plan(other), suggestion=suggestion)


def read_model_impl(text: str) -> ModelImpl:
    """The implementation of this name.

    >>> read_model_impl("vllm").value
    'vllm'
    """
    try:
        return ModelImpl(text)
    except ValueError:
        raise InputError(f"--model-impl does not know {text!r}.", hint=f"Say {', '.join(ModelImpl)}.") from None


def read_limits(text: str, *, option: str) -> dict[str, int]:
    """The limits per prompt that a JSON object states.

    Raises `InputError`, naming the option, for what is no object of whole numbers from 0.

    >>> read_limits('{"image": 1, "video": 0}', option="--against")
    {'image': 1, 'video': 0}
    """
    hint = """Write an object of whole numbers: '{"image": 1, "video": 0}'."""
    try:
        limits = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{option} is not JSON: {error}.", hint=hint) from error
    if not isinstance(limits, dict):
        raise InputError(f"{option} is no JSON object: {text}.", hint=hint)
    wrong = {name: value for name, value in limits.items() if type(value) is not int or value < 0}
    if wrong:
        shown = ", ".join(f"{name} is {json.dumps(value)}" for name, value in wrong.items())
        raise InputError(f"{option} takes whole numbers from 0, but {shown}.", hint=hint)
    return limits


def read_inputs(text: str) -> dict[str, int]:
    """What a test sends in its largest prompt.

    Raises `InputError` for what is no list of ``modality=count``.

    >>> read_inputs("image=1,video=2")
    {'image': 1, 'video': 2}
    """
    inputs: dict[str, int] = {}
    for part in text.split(","):
        name, _, count = (piece.strip() for piece in part.partition("="))
        if not name or not (count.isascii() and count.isdigit()) or name in inputs:
            raise InputError(
                f"--suggest does not take {part.strip()!r}.",
                hint="Write each modality once: --suggest image=1,video=2.",
            )
        inputs[name] = int(count)
    return inputs
