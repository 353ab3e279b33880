"""A judgement in sentences: what the runs show, and which bound goes with which confidence. Never more."""

from __future__ import annotations

from collections.abc import Iterator

from triage.verify._attempt import HANG, ArmCounts
from triage.verify._design import Design, Rule
from triage.verify._judge import FixVerdict, Judgement


def explain_judgement(state: Judgement, design: Design) -> tuple[str, ...]:
    """The sentences that a receipt and a PR say, the first of them the verdict's reason."""
    return tuple(_list_sentences(state, design))


def _list_sentences(state: Judgement, design: Design) -> Iterator[str]:
    level = f"{design.confidence:.0%}"
    before, after = state.before, state.after
    match state.verdict:
        case FixVerdict.VERIFIED:
            yield (
                f"Before the change {_say(before)}; after it {_say(after)}. These reject the old rate, even "
                f"at its lower bound of {state.old_rate_bound:.1%}."
            )
            if after.failures:
                yield f"The rate fell, but the failure is not gone: {_say(after)}."
        case FixVerdict.NOT_VERIFIED:
            yield from _explain_against(state, design)
        case FixVerdict.INSUFFICIENT:
            yield from _explain_insufficient(state)
        case FixVerdict.NEVER_FAILED:
            yield from _explain_never(state)
    if after.told and before.failures:
        yield f"At {level}, the failure rate after the change is at most {state.excluded:.1%}."
    for name, counts in (("before", before), ("after", after)):
        yield from _name_others(name, counts)
    for node in state.bad_nodes:
        yield (
            f"{node.node} is worse than the others, given the arm: {node.wrong} of {node.runs} runs went wrong there, "
            f"{node.wrong_elsewhere} of {node.runs_elsewhere} elsewhere (p = {node.p_value:.2g})."
        )
    if state.reverted is not None:
        yield from _explain_reverted(state.reverted)


def _explain_against(state: Judgement, design: Design) -> Iterator[str]:
    after = state.after
    for one in state.new:
        yield f"A new failure appears with the change, which the base does not show: {one.line} ({one.signature})."
    if state.new_timeouts:
        yield f"With the change {state.new_timeouts} of {after.runs} runs ended in a time-out, and none did before."
    if after.failures and not state.new and not state.new_timeouts:
        how = "rejects nothing" if design.rule is not Rule.SPRT else "leans to the old rate"
        fell = state.p_value <= design.alpha
        yield (
            f"The same failure recurs: {_say(after)} after the change, {_say(state.before)} before it; the test {how}."
            + (" The rate fell, but the failure is not gone." if fell else "")
        )


def _explain_insufficient(state: Judgement) -> Iterator[str]:
    before, after = state.before, state.after
    if state.node_decides:
        names = ", ".join(node.node for node in state.bad_nodes)
        yield f"All that speaks against the change comes from {names}. Run again without: --exclude."
    elif not before.failures:
        yield f"No run of the base tells anything: of {before.runs}, {_list_others(before)}."
    elif state.reverted is not None and state.reverted.told and not state.reverted.failures:
        yield (
            f"Without the change the failure did not come back in {state.reverted.told} runs: something else than the "
            "change may have made it go."
        )
    elif not after.told:
        yield f"No run after the change tells anything: of {after.runs}, {_list_others(after)}."
    elif not state.complete:
        yield f"The stopping rule asks for {state.planned_pairs} runs of each arm, and has not been met."
    else:
        yield (
            f"After the change {_say(after)}, before it {_say(before)}: too few runs to reject the old rate, which may "
            f"be as low as {state.old_rate_bound:.1%}."
        )
    if state.runs_needed:
        yield f"{state.runs_needed} more runs after the change would reject it, if none of them fails."


def _explain_never(state: Judgement) -> Iterator[str]:
    before = state.before
    if state.target is None:
        yield f"The base did not fail in {before.told} runs, so there is nothing to verify."
    else:
        what = "with a hang" if state.target == HANG else f"with the signature {state.target}"
        yield f"The base did not fail {what} in {before.runs} runs, so there is nothing to verify."
    yield "Reproduce the failure first: on the machine, with the versions and with the load of the red job."


def _explain_reverted(reverted: ArmCounts) -> Iterator[str]:
    if reverted.failures:
        yield f"With the change taken out again the failure came back: {_say(reverted)}."


def _say(counts: ArmCounts) -> str:
    return f"{counts.failures} of {counts.told} runs showed the failure"


def _name_others(name: str, counts: ArmCounts) -> Iterator[str]:
    if counts.runs > counts.told:
        yield f"Counted apart {name} the change: {_list_others(counts)}."


def _list_others(counts: ArmCounts) -> str:
    others = {
        "failed otherwise": counts.other_failures,
        "ran into a time-out": counts.timeouts,
        "ran no test": counts.skips,
        "were lost": counts.lost,
    }
    return ", ".join(f"{number} {what}" for what, number in others.items() if number) or "none was made"
