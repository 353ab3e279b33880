"""Runs on the nodes of a Slurm cluster: a job for each pair, so that both of its runs are on one node and one GPU."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from triage.errors import InputError
from triage.fleet import Fleet, SlurmOptions, Task, is_job_ending, name_node
from triage.verify._attempt import ArmName, End
from triage.verify._campaign import read_campaign, run_slot
from triage.verify._results import Results
from triage.verify._run import Slot

_JOBS = "jobs"
_KILLED = {-signal.SIGTERM, -signal.SIGKILL}
_JOB_S = 30.0  # of short runs in one job
_SPARE_S = 120.0  # for a node that is slow to begin, beside the limits of the runs


class SlurmRunner:
    """Makes pairs of runs as jobs; ``out`` must be a folder that the nodes share.

    The first jobs make one pair each. When it is known how long a pair takes, short ones share a job: its start alone
    takes seconds.
    """

    def __init__(self, out: Path, options: SlurmOptions, *, settle_s: float = 5.0) -> None:
        self._out = out.absolute()
        self.at_a_time = options.parallel * max(1, len(options.nodes))
        self._fleet = Fleet(self._out / _JOBS, options, name="triage-verify", settle_s=settle_s)

    def run(self, slots: Sequence[Slot], results: Results, on_result: Callable[[], None]) -> None:
        """All of them. Of a lost job its first run without a result is the lost one; those behind it never began."""
        running = self._fleet.list_running()  # of a driver that has died
        taken = {slot for task in running for slot in read_slots(task.argument)}
        free = [slot for slot in slots if slot not in taken]
        pairs = [list(group) for _, group in groupby(free, key=lambda slot: (slot.arm == ArmName.REVERTED, slot.pair))]
        first, rest = pairs[: self.at_a_time], pairs[self.at_a_time :]

        def list_open(task: Task) -> list[Slot]:
            return [slot for slot in read_slots(task.argument) if not results.has(slot)]

        def proceed() -> list[Task]:
            nonlocal rest
            on_result()
            waiting, rest = rest, []
            size = self._choose_size(results, len(waiting))
            return [self._plan_job(waiting[n : n + size]) for n in range(0, len(waiting), size)]

        self._fleet.run(
            run_slots,
            [*running, *(self._plan_job([pair]) for pair in first)],
            is_done=lambda task: not list_open(task),
            on_change=proceed,
            on_lost=lambda task, node: results.write_lost(list_open(task)[0], name_node(node) if node else ""),
        )

    def _choose_size(self, results: Results, waiting: int) -> int:
        """How many pairs a job makes: about half a minute of them, and no more than keeps all jobs busy."""
        seconds = [stored.attempt.seconds for stored in results.read() if stored.attempt.end is not End.LOST]
        if not seconds:  # the first jobs were lost
            return 1
        fitting = int(_JOB_S / (2 * max(median(seconds), 0.01)))
        return max(1, min(fitting, math.ceil(waiting / self.at_a_time)))

    def _plan_job(self, pairs: Sequence[Sequence[Slot]]) -> Task:
        slots = [slot for pair in pairs for slot in pair]
        return Task(name=f"from-{slots[0].name}", argument=describe_slots(self._out, slots), length=len(pairs))


def describe_slots(out: Path, slots: Sequence[Slot]) -> dict[str, Any]:
    """What a job is told."""
    return {"out": str(out), "slots": [{"arm": s.arm, "pair": s.pair, "number": s.number} for s in slots]}


def read_slots(argument: Mapping[str, Any]) -> list[Slot]:
    """The slots of a job."""
    return [Slot(**fields) for fields in argument["slots"]]


def run_slots(argument: Mapping[str, Any]) -> None:
    """What a job does on its node: its runs, one after the other, each with its result in the shared folder."""
    out = Path(argument["out"])
    campaign, results = read_campaign(out), Results(out)
    for slot in read_slots(argument):
        if not results.has(slot):
            try:
                attempt, opened = run_slot(campaign, slot, out)
            except InputError as error:  # for the driver to tell: the job's own words are read by nobody
                results.refuse(slot, error)
                continue
            if attempt.returncode in _KILLED and is_job_ending():
                return  # Slurm signals every process of a job: the run did not die by itself, it was lost
            results.write(slot, attempt, opened)


def limit_job(timeout_s: float | None) -> float:
    """What Slurm is to give a job of two runs, in seconds."""
    return 2 * (timeout_s or 3600.0) + _SPARE_S
