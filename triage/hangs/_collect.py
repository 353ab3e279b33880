"""Evidence before the kill: everything that can be had of a hung tree within a few seconds, and never an exception."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from triage.hangs._gpu import ROOT, has_gpu, read_gpus
from triage.hangs._kernel import copy_devcoredump, list_devcoredumps, read_kernel_log
from triage.hangs._machine import Baseline, read_memory, read_shm
from triage.hangs._names import NOT_PYTHON
from triage.hangs._sample import Evidence, GpuSample, NotCollected, Process, Sample, Thread
from triage.hangs._stacks import FEWER, NO_STACKS, read_stacks
from triage.hangs._tree import read_tree
from triage.machine.asking import Asking, ask_all

_FIRST_SHARE = 0.45  # of the time, for the first of the two samples
_RESERVE_S = 0.8  # what is late is killed, and that takes a moment
_LIST_S = 2.0
_RESTARTED = "restart_syscall"
_RESTART_CPU_S = 0.02  # two ticks of the kernel's clock: what the interruption itself costs


def take_sample(
    pids: Iterable[int],
    *,
    clock: Callable[[], float],
    limit_s: float,
    stacks_folder: Path | None = None,
    stacks: bool = True,
    root: Path = ROOT,
) -> Sample:
    """The processes of a list at one moment, with their stacks unless ``stacks`` is false.

    ``clock`` gives the seconds since the start. The SMI tools are asked only where a GPU is there. ``stacks_folder`` is
    that of `prepare_stacks`.
    """
    take = partial(_take, stacks_folder=stacks_folder, root=root, stacks=stacks)
    return take(pids, clock=clock, limit_s=limit_s, tools=None if has_gpu(root=root) else ())[0]


def _take(
    pids: Iterable[int],
    *,
    clock: Callable[[], float],
    limit_s: float,
    stacks_folder: Path | None,
    root: Path,
    tools: Collection[str] | None,
    stacks: bool = True,
) -> tuple[Sample, list[NotCollected]]:
    deadline = time.monotonic() + limit_s
    at_s = clock()
    gpus = Asking(
        {"gpu": partial(read_gpus, limit_s=max(0.1, limit_s - _RESERVE_S), root=root, only=tools)}, limit_s=limit_s
    )
    processes, unread = read_tree(pids, limit_s=limit_s / 3)
    missing = [NotCollected(what=f"process {pid}", why=why) for pid, why in unread.items()]
    if stacks:
        left = deadline - time.monotonic() - _RESERVE_S
        processes = read_stacks(processes, limit_s=max(0.1, left), stacks_folder=stacks_folder)
        missing += _list_missing_stacks(processes)
    answers = gpus.wait()
    gpu: GpuSample | None = None
    if "gpu" in answers.given:
        gpu, not_told = answers.given["gpu"]
        missing += not_told
    missing += [NotCollected(what=what, why=why) for what, why in answers.missing.items()]
    return Sample(at_s=at_s, processes=processes, gpu=gpu), missing


def _list_missing_stacks(processes: Iterable[Process]) -> list[NotCollected]:
    """A process without a Python interpreter, and a zombie, have none: nothing is missing there."""
    return [
        NotCollected(
            what=f"{'native calls' if process.stack_source else 'stacks'} of {process.name} ({process.pid})",
            why=(process.stack_error or "").removeprefix(FEWER),
        )
        for process in processes
        if process.stack_error not in {None, NOT_PYTHON, NO_STACKS}
    ]


def collect_evidence(
    list_pids: Callable[[], list[int]],
    *,
    folder: Path,
    clock: Callable[[], float],
    gap_s: float = 2.0,
    limit_s: float = 8.0,
    stacks_folder: Path | None = None,
    baseline: Baseline | None = None,
    root: Path = ROOT,
) -> Evidence:
    """Two samples of the tree ``gap_s`` apart and what the machine says, all of it within ``limit_s``.

    ``list_pids`` names the processes of the tree, ``clock`` the seconds since its start; dumps of devices are copied
    into ``folder``. What could not be had is in ``not_collected``, with the reason: nothing is raised. Without a
    ``baseline`` nobody knows which lines of the kernel's log belong to the command, so they are left out. ``root`` is
    where /dev and /sys are looked for.
    """
    deadline = time.monotonic() + limit_s
    missing: list[NotCollected] = []
    pids = _list_pids(list_pids, missing)
    machine = _ask_machine(pids, folder, baseline, root, limit_s=limit_s - _RESERVE_S)
    samples: list[Sample] = []
    take = partial(_take, clock=clock, stacks_folder=stacks_folder, root=root)
    if pids:
        sampled = time.monotonic()
        first, first_missing = take(pids, limit_s=limit_s * _FIRST_SHARE, tools=None)
        samples.append(first)
        time.sleep(max(0.0, min(sampled + gap_s, deadline - _RESERVE_S) - time.monotonic()))
        missing += first_missing
        pids = _list_pids(list_pids, missing)
        left = deadline - time.monotonic() - _RESERVE_S / 2
        if pids and left > 0:
            # A tool that did not answer the first time is not asked again.
            tools = () if first.gpu is None else (first.gpu.source,)
            second, second_missing = take(pids, limit_s=left, tools=tools)
            samples.append(_name_restarted(first, second))
            missing += second_missing
    answers = machine.wait()
    log = _read_log(baseline, missing)
    missing += [NotCollected(what=what.replace("_", " "), why=why) for what, why in answers.missing.items()]
    found = answers.given
    copied, not_copied = found.get("devcoredumps", ((), ()))
    return Evidence(
        samples=tuple(samples),
        kernel_log=log,
        devcoredumps=copied,
        shm=found.get("shm"),
        memory=found.get("memory"),
        not_collected=tuple(dict.fromkeys([*missing, *not_copied])),
    )


def _name_restarted(first: Sample, second: Sample) -> Sample:
    """Reading its stack interrupts a wait, which the kernel then goes on with as ``restart_syscall``.

    Of a thread that used no CPU time in between it is the wait that the first sample saw.
    """
    seen = {(process.pid, thread.tid): thread for process in first.processes for thread in process.threads}

    def name(process: Process, thread: Thread) -> Thread:
        before = seen.get((process.pid, thread.tid))
        if before is None or thread.syscall != _RESTARTED or thread.cpu_s - before.cpu_s > _RESTART_CPU_S:
            return thread
        return replace(thread, syscall=before.syscall)

    processes = (replace(p, threads=tuple(name(p, thread) for thread in p.threads)) for p in second.processes)
    return replace(second, processes=tuple(processes))


def _list_pids(list_pids: Callable[[], list[int]], missing: list[NotCollected]) -> list[int]:
    answers = ask_all({"processes": list_pids}, limit_s=_LIST_S)
    missing += [NotCollected(what=what, why=why) for what, why in answers.missing.items()]
    return [pid for pid in answers.given.get("processes", []) if pid != os.getpid()]


def _ask_machine(
    pids: list[int], folder: Path, baseline: Baseline | None, root: Path, *, limit_s: float
) -> Asking[str, Any]:
    questions: Mapping[str, Callable[[], Any]] = {
        "devcoredumps": partial(_copy_devcoredumps, folder, baseline, root),  # first: they expire
        "memory": partial(read_memory, pids, baseline),
        "shm": _read_shm,
    }
    return Asking(questions, limit_s=limit_s)


def _read_shm() -> dict[str, int]:
    found = read_shm()
    if found is None:
        raise OSError("/dev/shm cannot be listed")
    return found


def _copy_devcoredumps(
    folder: Path, baseline: Baseline | None, root: Path
) -> tuple[tuple[str, ...], tuple[NotCollected, ...]]:
    copied, missing = [], []
    for name, data in list_devcoredumps(root).items():
        if baseline is not None and name in baseline.devcoredumps:
            missing.append(NotCollected(what=f"devcoredump {name}", why="it was there before the command began"))
            continue
        try:
            copy, whole = copy_devcoredump(name, data, folder)
            copied.append(copy)
            if not whole:
                missing.append(NotCollected(what=f"devcoredump {name}", why="it is huge: its copy is cut"))
        except OSError as error:
            missing.append(NotCollected(what=f"devcoredump {name}", why=error.strerror or str(error)))
    return tuple(copied), tuple(missing)


def _read_log(baseline: Baseline | None, missing: list[NotCollected]) -> tuple[str, ...]:
    """Last of all, so that it has what the kernel says when a device is looked at."""
    why = None
    if baseline is None:
        why = "when the command began is not known"
    elif baseline.kernel_log_s is None:
        why = "it could not be read when the command began (CAP_SYSLOG, or kernel.dmesg_restrict=0, is needed)"
    else:
        answers = ask_all({"log": partial(read_kernel_log, baseline.kernel_log_s)}, limit_s=1.0)
        if "log" in answers.given:
            return answers.given["log"]
        why = answers.missing["log"]
    missing.append(NotCollected(what="kernel log", why=why))
    return ()
