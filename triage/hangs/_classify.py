"""From the evidence to a class. Pure: it reads nothing but what it is given.

The rule of the house holds throughout: a class needs its evidence in *both* samples, and whatever is missing (a
stack, a state, a reading) leads to ``unknown``. That is why each step below first asks whether what could contradict
it is known: a thread without a stack in a process that holds a GPU may be in a wait for that GPU.
"""

from __future__ import annotations

from collections.abc import Collection

from triage.hangs._deadlock import find_deadlock
from triage.hangs._death import diagnose_exit, list_lost_parts
from triage.hangs._device import GpuLoad, find_device_wait, is_device_wait, judge_load, opens_gpu
from triage.hangs._pairs import Pairs, ProcessPair, pair_samples
from triage.hangs._record import Diagnosis, Ending, HangClass
from triage.hangs._sample import Evidence
from triage.hangs._shutdown import find_shutdown

_NATIVE_SOURCE = "py-spy --native"
_GOING_ON = {
    Ending.RUNNING: "The command is still running.",
    Ending.REACHED: "The command came as far as it was asked to.",
}


def diagnose(
    evidence: Evidence,
    *,
    ending: Ending,
    returncode: int | None,
    progressing: bool,
    seen_pids: Collection[int] = (),
) -> Diagnosis:
    """The class of a watched command, with the lines of evidence that decided it, the weightiest first.

    ``progressing`` is whether the watch saw a sign of life until the end; ``returncode`` is negative for death by a
    signal. ``seen_pids`` are the processes that the tree ever had: the kernel's log is read for their names.

    >>> diagnose(Evidence(), ending=Ending.EXITED, returncode=-11, progressing=False).because
    ('The command died by SIGSEGV.',)
    >>> diagnose(Evidence(), ending=Ending.STALLED, returncode=None, progressing=False).hang_class.value
    'unknown'
    """
    if ending is Ending.EXITED:
        return diagnose_exit(evidence, returncode=returncode, seen_pids=frozenset(seen_pids))
    if ending in _GOING_ON:
        return Diagnosis(hang_class=HangClass.NONE, because=(_GOING_ON[ending],))
    if progressing and ending is Ending.TIME_LIMIT:
        return Diagnosis(hang_class=HangClass.SLOW_PROGRESS, because=_tell_progress(evidence))
    if progressing and ending is Ending.STOPPED:
        return Diagnosis(hang_class=HangClass.NONE, because=("It was going on when the watch was told to stop.",))
    return _diagnose_stall(evidence, frozenset(seen_pids))


def _diagnose_stall(evidence: Evidence, seen_pids: frozenset[int]) -> Diagnosis:
    """The class of a tree that gave no sign of life."""
    pairs = pair_samples(evidence)
    if pairs is None:
        return _unknown("There are not two samples, and one cannot tell waiting from passing by.")
    if not pairs.processes:
        return _unknown("No process was seen alive in both samples.")
    if any(find_device_wait(sample) for sample in evidence.samples):
        return _diagnose_device(pairs)
    if doubt := _find_gap(pairs):
        return _unknown(doubt)
    return _diagnose_host(evidence, pairs, seen_pids)


def _diagnose_host(evidence: Evidence, pairs: Pairs, seen_pids: frozenset[int]) -> Diagnosis:
    """No thread is in a wait for a GPU, and the whole tree is known."""
    deadlock, shutdown = find_deadlock(pairs), find_shutdown(pairs)
    lost = list_lost_parts(evidence, pairs, seen_pids)
    if shutdown.decided:
        return Diagnosis(hang_class=HangClass.SHUTDOWN_HANG, because=(*shutdown.because, *lost))
    if shutdown.because:
        return _unknown(*shutdown.because, *lost)
    if deadlock.decided:
        if doubt := _find_gpu_doubt(evidence, pairs):
            return _unknown(doubt, *deadlock.because, *lost)
        return Diagnosis(hang_class=HangClass.HOST_DEADLOCK, because=(*deadlock.because, *lost))
    return _unknown(*deadlock.because, *lost)


def _diagnose_device(pairs: Pairs) -> Diagnosis:
    """A thread is in a wait for a GPU: the GPU's load tells the rest, and nothing else does."""
    first, second = find_device_wait(pairs.first), find_device_wait(pairs.second)
    waits = [wait for wait in second if wait in first]
    if not waits:
        seen = " ".join(f"{wait}." for wait in (*first, *second)[:2])
        return _unknown(f"No thread was in the same wait for the GPU in both samples. {seen}")
    lines = tuple(f"{wait}, in both samples." for wait in waits)
    own = frozenset(process.pid for process in pairs.processes)
    load, words = judge_load((pairs.first, pairs.second), own_pids=own)
    if load is GpuLoad.UNKNOWN:
        return _unknown(words, *lines)
    kind = HangClass.DEVICE_BUSY if load is GpuLoad.BUSY else HangClass.DEVICE_IDLE_WAIT
    return Diagnosis(hang_class=kind, because=(*lines, f"{words}."))


def _find_gap(pairs: Pairs) -> str | None:
    """What is not known of the tree, or changed in it, so that nothing can be said of it as a whole."""
    if not pairs.same:
        return "Processes of the tree came or went between the samples."
    if not pairs.quiet:
        return f"The tree used {pairs.cpu_s:.2f} s of CPU time in the {pairs.interval_s:.1f} s between the samples."
    return next((gap for process in pairs.processes if (gap := _find_gap_of(process))), None)


def _find_gap_of(process: ProcessPair) -> str | None:
    if not process.states_known or process.main is None:
        return f"The state of {process} is not known in both samples."
    if not process.stopped and _stack_is_missing(process):
        return f"The stack of the main thread of {process} is not known in both samples."
    if any(is_device_wait(thread) for side in (process.first, process.second) for thread in side.threads):
        return f"{process} is in a wait for the GPU, and its state does not say whether it still was."
    return _find_blind_spot(process) if opens_gpu(process.first) or opens_gpu(process.second) else None


def _stack_is_missing(process: ProcessPair) -> bool:
    """Whether a program of Python shows no stack: what its main thread does is then not known."""
    main = process.main
    is_python = any(
        "py-spy" in (side.stack_source or "") or side.stack_source == "faulthandler"
        for side in (process.first, process.second)
    )
    return (
        is_python
        and main is not None
        and main.first.state not in "ZX"
        and not (main.first.frames and main.second.frames)
    )


def _find_blind_spot(process: ProcessPair) -> str | None:
    """Why a process that holds a GPU might be in a wait for it unseen."""
    if process.stopped:
        return None
    for side in (process.first, process.second):
        if side.stack_source != _NATIVE_SOURCE:
            return f"{process} holds a GPU, and without its native stacks nobody can tell whether it waits for it."
    for thread in process.threads:
        if thread.has_python and not thread.still:
            return f"{process} holds a GPU, and a stack of it is not the same in both samples."
        # Whatever waits in the kernel does so in native code: without such a call on top the stack is not whole.
        if thread.has_python and not all(side.frames[0].native for side in (thread.first, thread.second)):
            return f"{process} holds a GPU, and a stack of it lacks its native calls."
    return None


def _find_gpu_doubt(evidence: Evidence, pairs: Pairs) -> str | None:
    """Why a GPU may be involved in what looks like a deadlock of the host."""
    held = [process for process in pairs.processes if opens_gpu(process.first) or opens_gpu(process.second)]
    holders = {h.pid for sample in evidence.samples if sample.gpu for h in sample.gpu.holders}
    ours = [process for process in pairs.processes if process.pid in holders or process in held]
    if not ours:
        return None
    load, words = judge_load((pairs.first, pairs.second), own_pids=frozenset(holders))
    return None if load is GpuLoad.IDLE else f"{ours[0]} holds a GPU, so that it may be involved. {words}"


def _tell_progress(evidence: Evidence) -> tuple[str, ...]:
    pairs = pair_samples(evidence)
    lines = ["Its time was up, and it was still giving signs of life."]
    if pairs is not None:
        lines.append(f"The tree used {pairs.cpu_s:.2f} s of CPU time in the {pairs.interval_s:.1f} s between samples.")
    return tuple(lines)


def _unknown(*because: str) -> Diagnosis:
    return Diagnosis(hang_class=HangClass.UNKNOWN, because=because)
