"""Evidence with one piece missing, for every piece that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

from triage.hangs import Evidence, GpuSample, Process, Sample, Thread

_THREAD: dict[str, Callable[[Thread], Thread]] = {
    "stack": lambda thread: replace(thread, frames=()),
    "native frames": lambda thread: replace(thread, frames=tuple(f for f in thread.frames if not f.native)),
    "state": lambda thread: replace(thread, state="?"),
    "wchan": lambda thread: replace(thread, wchan=None),
    "syscall": lambda thread: replace(thread, syscall=None),
    "wchan and syscall": lambda thread: replace(thread, wchan=None, syscall=None),
    "GIL": lambda thread: replace(thread, holds_gil=None),
}
_PROCESS: dict[str, Callable[[Process], Process]] = {
    "files": lambda process: replace(process, files=()),
    "state": lambda process: replace(process, state="?"),
    "threads": lambda process: replace(process, threads=()),
    "stack source": lambda process: replace(process, stack_source=None),
    "stack error": lambda process: replace(process, stack_error=None),
    "lock holders": lambda process: replace(process, lock_holders=()),
    "parent": lambda process: replace(process, ppid=0),
    "command line": lambda process: replace(process, command=()),
    "connections": lambda process: _change_files(process, peer=None, port=None),
    "watched files": lambda process: _change_files(process, watches=()),
    "modes of files": lambda process: _change_files(process, mode=None),
    **{
        f"every {what}": lambda process, change=change: replace(process, threads=tuple(map(change, process.threads)))
        for what, change in _THREAD.items()
    },
}


def _change_files(process: Process, **gone: object) -> Process:
    return replace(process, files=tuple(replace(file, **gone) for file in process.files))  # type: ignore[arg-type]


_GPU: dict[str, Callable[[GpuSample], GpuSample | None]] = {
    "GPU": lambda _: None,
    "holders": lambda gpu: replace(gpu, holders=()),
    "readings": lambda gpu: replace(gpu, readings=()),
    "utilisation": lambda gpu: replace(
        gpu, readings=tuple(replace(reading, utilisation_percent=None) for reading in gpu.readings)
    ),
}


def list_ablations(evidence: Evidence) -> Iterator[tuple[str, Evidence]]:
    """Every way to take one piece away: its name, and what is left."""
    yield "no memory figures", replace(evidence, memory=None)
    yield "no kernel log", replace(evidence, kernel_log=())
    for index, line in enumerate(evidence.kernel_log):
        left = evidence.kernel_log[:index] + evidence.kernel_log[index + 1 :]
        yield f"no {line!r}", replace(evidence, kernel_log=left)
    if not evidence.samples:
        return
    yield "no samples", replace(evidence, samples=())
    for index in range(len(evidence.samples)):
        left_samples = evidence.samples[:index] + evidence.samples[index + 1 :]
        yield f"no sample {index}", replace(evidence, samples=left_samples)
    last = len(evidence.samples) - 1
    for which in dict.fromkeys([(0,), (last,), (0, last)]):
        for name, change in chain(_list_gpu_changes(), _list_tree_changes(evidence)):
            changed = (change(sample) if at in which else sample for at, sample in enumerate(evidence.samples))
            yield f"{name} in {which}", replace(evidence, samples=tuple(changed))


def _list_gpu_changes() -> Iterator[tuple[str, Callable[[Sample], Sample]]]:
    for name, change in _GPU.items():
        yield f"no {name}", lambda sample, change=change: replace(sample, gpu=sample.gpu and change(sample.gpu))


def _list_tree_changes(evidence: Evidence) -> Iterator[tuple[str, Callable[[Sample], Sample]]]:
    pids = {process.pid for sample in evidence.samples for process in sample.processes}
    tids = {thread.tid for sample in evidence.samples for process in sample.processes for thread in process.threads}
    for name, change in _PROCESS.items():
        yield f"no {name} of any process", lambda sample, change=change: _change_process(sample, pids, change)
        for pid in pids:
            yield f"no {name} of {pid}", lambda sample, c=change, pid=pid: _change_process(sample, {pid}, c)
    for name, change_thread in _THREAD.items():
        for tid in tids:
            yield f"no {name} of thread {tid}", lambda sample, c=change_thread, tid=tid: _change_thread(sample, tid, c)


def _change_process(sample: Sample, pids: set[int], change: Callable[[Process], Process]) -> Sample:
    return replace(sample, processes=tuple(change(p) if p.pid in pids else p for p in sample.processes))


def _change_thread(sample: Sample, tid: int, change: Callable[[Thread], Thread]) -> Sample:
    def apply(process: Process) -> Process:
        return replace(process, threads=tuple(change(t) if t.tid == tid else t for t in process.threads))

    return replace(sample, processes=tuple(map(apply, sample.processes)))
