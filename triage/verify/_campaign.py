"""A verification from its first run to its last: planned, run somewhere, resumed, and checked on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from triage.errors import InputError
from triage.files import write_atomic
from triage.result import Family
from triage.verify._arms import Arm, Setup
from triage.verify._attempt import ArmName, Attempt, End
from triage.verify._design import Design, Rule
from triage.verify._exact import find_runs
from triage.verify._judge import judge_attempts
from triage.verify._plan import count_planned, order_pair, seen_again
from triage.verify._results import Results, list_attempts
from triage.verify._run import Limits, Slot, run_attempt

CAMPAIGN, ATTEMPTS = "campaign.json", "attempts"
_TRIES = 4  # of a slot whose runs are lost with their nodes


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """All that a verification is, but for its results: ``campaign.json`` in its folder.

    ``target`` and ``family`` say which failure is meant, where the user or the case does; ``place`` where the runs are.
    """

    setup: Setup
    design: Design
    limits: Limits
    seed: int = 0
    target: str | None = None
    family: Family | None = None
    case: str | None = None
    place: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""

    def write(self, out: Path) -> None:
        """Keeps it, for whoever resumes it and for the nodes that run its attempts."""
        record = asdict(self) | {"design": self.design.to_json()}
        write_atomic(out / CAMPAIGN, json.dumps(record, indent=1, default=str))


def read_campaign(out: Path) -> Campaign:
    """The campaign of a folder. Raises `InputError` where there is none."""
    try:
        record = json.loads((out / CAMPAIGN).read_text(encoding="utf-8"))
        setup = record["setup"]
        design = record["design"]
        return Campaign(
            setup=Setup(
                arms={ArmName(name): _read_arm(arm) for name, arm in setup["arms"].items()},
                changed={ArmName(name): tuple(map(Path, paths)) for name, paths in setup["changed"].items()},
                description=setup["description"],
                notes=tuple(setup["notes"]),
            ),
            design=Design(
                rule=Rule(design["rule"]),
                runs=design["runs"],
                most=design["max_runs"],
                confidence=design["confidence"],
                improvement=design["improvement"],
            ),
            limits=Limits(**record["limits"]),
            seed=record["seed"],
            target=record["target"],
            family=None if record["family"] is None else Family(record["family"]),
            case=record["case"],
            place=record["place"],
            started=record["started"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{out} holds no verification that can be resumed ({error}).",
            hint="Name the folder that `triage verify` wrote: --resume DIR.",
        ) from None


def _read_arm(fields: Mapping[str, Any]) -> Arm:
    return Arm(
        name=ArmName(fields["name"]),
        command=tuple(fields["command"]),
        folder=Path(fields["folder"]),
        env=fields["env"],
    )


class Runner(Protocol):
    """Where the runs of a campaign, as its folder has it, are made; ``at_a_time`` is how many pairs at once."""

    at_a_time: int

    def run(self, slots: Sequence[Slot], results: Results, on_result: Callable[[], None]) -> None:
        """Makes a try of each slot, and writes a result for each: what it showed, or that it was lost."""


class LocalRunner:
    """Runs on this machine, one after the other."""

    at_a_time = 1

    def __init__(self, out: Path) -> None:
        self._out = out

    def run(self, slots: Sequence[Slot], results: Results, on_result: Callable[[], None]) -> None:
        """Each in turn. Raises `StoppedError` where a signal asks for the end."""
        campaign = read_campaign(self._out)
        for slot in slots:
            results.write(slot, *run_slot(campaign, slot, self._out))
            on_result()


def run_slot(campaign: Campaign, slot: Slot, out: Path) -> tuple[Attempt, list[Path] | None]:
    """Makes one run of a campaign in its folder: the attempt, and the changed files that it opened."""
    arm = campaign.setup.arms[ArmName(slot.arm)]
    changed = campaign.setup.changed.get(arm.name, ())
    return run_attempt(arm, slot, out=out / ATTEMPTS, limits=campaign.limits, changed=changed)


def run_campaign(
    campaign: Campaign,
    out: Path,
    runner: Runner,
    *,
    on_progress: Callable[[Sequence[Attempt], int], None] = lambda _attempts, _planned: None,
) -> tuple[Attempt, ...]:
    """Runs what the stopping rule asks for and is not there yet. Returns all attempts.

    ``on_progress`` is told the attempts so far and the number of pairs planned, after every result. Raises `InputError`
    as soon as it is known that no run opens a file of the change: the arms would be the same.
    """
    results = Results(out)

    def list_all() -> tuple[Attempt, ...]:
        return list_attempts(results.read())

    while True:
        pairs = count_planned(
            [a for a in list_all() if a.end is not End.LOST],
            campaign.design,
            target=campaign.target,
            family=campaign.family,
            at_a_time=runner.at_a_time,
        )
        slots = [slot for pair in range(pairs) for slot in order_pair(pair, seed=campaign.seed)]
        todo = _list_todo(slots, results)
        if not todo:
            break
        step = todo if campaign.design.rule is not Rule.SPRT else todo[: 2 * max(runner.at_a_time, 1)]

        def tell(planned: int = pairs) -> None:
            check_change_is_used(campaign.setup, results)
            on_progress(list_all(), planned)

        runner.run(step, results, tell)
    if ArmName.REVERTED in campaign.setup.arms:
        _run_reverted(campaign, results, runner, pairs, lambda: on_progress(list_all(), pairs))
    return list_all()


def _list_todo(slots: Sequence[Slot], results: Results) -> list[Slot]:
    return [slot for slot in slots if not results.has(slot) and results.count_lost(slot) < _TRIES]


def _run_reverted(
    campaign: Campaign, results: Results, runner: Runner, pairs: int, on_result: Callable[[], None]
) -> None:
    """Runs without the fix until the failure is seen again, as many as its old rate needs to show itself."""
    design = campaign.design
    state = judge_attempts(list_attempts(results.read()), design, target=campaign.target, family=campaign.family)
    most = find_runs(state.old_rate_bound, confidence=design.confidence) or 0
    slots = [
        Slot(arm=ArmName.REVERTED.value, pair=pair, number=2 * pairs + pair) for pair in range(min(most, design.most))
    ]
    while todo := _list_todo(slots, results):
        if seen_again(list_attempts(results.read()), state.target):
            return
        runner.run(todo[: runner.at_a_time], results, on_result)


def check_change_is_used(setup: Setup, results: Results) -> None:
    """Raises `InputError` once both arms have run and neither has opened a file that the change touches."""
    if not any(setup.changed.values()):
        return
    stored = [one for one in results.read() if one.attempt.end is not End.LOST]
    if {one.attempt.arm for one in stored} < {ArmName.BEFORE, ArmName.AFTER}:
        return
    if any(one.opened or one.opened is None for one in stored):
        return
    names = list(dict.fromkeys(path.name for paths in setup.changed.values() for path in paths))
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    raise InputError(
        f"The change touches nothing that the run reads: it opened no file of {shown}.",
        hint="If Python imports an installed package instead of the checkout, name it: --package vllm.",
    )


def now_utc() -> str:
    """The time of day, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
