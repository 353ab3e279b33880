"""The two samples side by side: every process and thread that was there both times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from triage.hangs._names import NOT_PYTHON
from triage.hangs._sample import Evidence, Frame, OpenFile, Process, Sample, Thread

_GONE = frozenset("ZX")
_KNOWN_STATES = frozenset("RSDTtI") | _GONE
_QUIET_SHARE = 0.05  # of one core: a waiter for the GIL wakes up 200 times a second, a poll loop ten times
_QUIET_LEAST_S = 0.05  # CPU time is counted in hundredths of a second, and a debugger's visit costs some


@dataclass(frozen=True, kw_only=True)
class ThreadPair:
    """One thread in both samples."""

    first: Thread
    second: Thread

    @property
    def cpu_s(self) -> float:
        """CPU time between the samples."""
        return self.second.cpu_s - self.first.cpu_s

    @property
    def still(self) -> bool:
        """Whether it stands where it stood: a stack is known, and its calls of Python are the same.

        Native calls do not count where Python's are known: they may have been read in one sample only.
        """
        first, second = (_list_calls(thread) for thread in (self.first, self.second))
        return bool(first) and first == second

    @property
    def has_python(self) -> bool:
        """Whether its stack shows a call of Python."""
        return any(not frame.native for frame in (*self.first.frames, *self.second.frames))

    def in_states(self, states: str) -> bool:
        """Whether it was in one of the states both times."""
        return self.first.state in states and self.second.state in states


@dataclass(frozen=True, kw_only=True)
class ProcessPair:
    """One living process in both samples, with the threads that were there both times, its main thread first."""

    first: Process
    second: Process
    threads: tuple[ThreadPair, ...]

    @property
    def pid(self) -> int:
        """The process id."""
        return self.second.pid

    @property
    def cpu_s(self) -> float:
        """CPU time between the samples."""
        return self.second.cpu_s - self.first.cpu_s

    @property
    def main(self) -> ThreadPair | None:
        """The main thread; None where no thread could be read."""
        own = [thread for thread in self.threads if thread.second.tid == self.pid]
        return own[0] if own else None

    @property
    def states_known(self) -> bool:
        """Whether the kernel's letter of it and of its main thread is known in both samples."""
        letters = [self.first.state, self.second.state]
        letters += [] if self.main is None else [self.main.first.state, self.main.second.state]
        return all(letter in _KNOWN_STATES for letter in letters)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped (SIGSTOP, a job control signal) both times."""
        return self.first.state == self.second.state == "T" and (self.main is None or self.main.in_states("T"))

    @property
    def native(self) -> bool:
        """Whether it is known to run no Python."""
        return self.first.stack_error == self.second.stack_error == NOT_PYTHON

    def stands(self, thread: ThreadPair) -> bool:
        """Whether a thread of it stands where it stood: by its stack, or without Python by its system call."""
        call = thread.first.syscall
        return thread.still or (self.native and call is not None and call == thread.second.syscall)

    def find_file(self, fd: int | None) -> OpenFile | None:
        """What a descriptor of it leads to, as it was seen last."""
        return next((file for file in self.second.files if file.fd == fd), None)

    def __str__(self) -> str:
        """As the process is quoted."""
        return f"{self.second.name} (pid {self.pid})"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The tree in both samples. ``same`` says that no process of it came or went between them."""

    first: Sample
    second: Sample
    processes: tuple[ProcessPair, ...]
    same: bool

    @property
    def interval_s(self) -> float:
        """From the first sample to the second."""
        return self.second.at_s - self.first.at_s

    @property
    def cpu_s(self) -> float:
        """CPU time of the whole tree between the samples."""
        return sum(process.cpu_s for process in self.processes)

    @property
    def quiet(self) -> bool:
        """Whether the tree used next to no CPU time between the samples."""
        return self.cpu_s <= max(_QUIET_LEAST_S, _QUIET_SHARE * self.interval_s)

    def list_ancestors(self, pid: int) -> set[int]:
        """The processes of the tree above one."""
        parents = {process.pid: process.second.ppid for process in self.processes}
        found: set[int] = set()
        while (pid := parents.get(pid, 0)) in parents and pid not in found:
            found.add(pid)
        return found

    def list_descendants(self, pid: int) -> set[int]:
        """The processes of the tree below one."""
        return {process.pid for process in self.processes if pid in self.list_ancestors(process.pid)}


def pair_samples(evidence: Evidence) -> Pairs | None:
    """The first and the last sample side by side; None where there are fewer than two."""
    if len(evidence.samples) < 2:
        return None
    first, second = evidence.samples[0], evidence.samples[-1]
    before = {_identify(process): process for process in first.processes if _is_alive(process)}
    after = {_identify(process): process for process in second.processes if _is_alive(process)}
    pairs = tuple(_pair(before[key], process) for key, process in after.items() if key in before)
    return Pairs(first=first, second=second, processes=pairs, same=before.keys() == after.keys())


def _list_calls(thread: Thread) -> list[Frame]:
    return [frame for frame in thread.frames if not frame.native] or list(thread.frames)


def _is_alive(process: Process) -> bool:
    """A zombie is dead, unless it is a main thread that ended before its others."""
    return process.state not in _GONE or any(
        thread.state not in _GONE and thread.state in _KNOWN_STATES for thread in process.threads
    )


def _identify(process: Process) -> tuple[int, int]:
    return process.pid, process.start_ticks


def _pair(first: Process, second: Process) -> ProcessPair:
    def list_threads() -> Iterator[ThreadPair]:
        before = {thread.tid: thread for thread in first.threads}
        for thread in second.threads:
            if thread.tid in before:
                yield ThreadPair(first=before[thread.tid], second=thread)

    return ProcessPair(first=first, second=second, threads=tuple(list_threads()))
