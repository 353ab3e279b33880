"""What is seen of a process tree: its processes and threads, the GPUs, and what the machine says, at a moment.

Plain dataclasses of the standard library: a watch must cost a healthy command next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One call on a stack. ``line`` is None where only the function is known."""

    function: str
    file: str
    line: int | None = None
    native: bool = False

    def __str__(self) -> str:
        """As stacks are quoted.

        >>> str(Frame(function="synchronize", file="torch/cuda/__init__.py", line=1083))
        'synchronize (torch/cuda/__init__.py:1083)'
        """
        return f"{self.function} ({self.file}{'' if self.line is None else f':{self.line}'})"


@dataclass(frozen=True, kw_only=True)
class Thread:
    """One thread at one moment.

    ``state`` is the kernel's letter, ``wchan`` and ``syscall`` where it waits in the kernel (None: not readable, or
    running). ``frames`` run from the innermost call outwards; empty where no stack was had. ``cpu_s`` is CPU time
    since its start. ``holds_gil`` is None where nobody could tell.
    """

    tid: int
    name: str
    state: str
    cpu_s: float
    wchan: str | None = None
    syscall: str | None = None
    holds_gil: bool | None = None
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OpenFile:
    """A descriptor that a process may wait on: ``target`` as /proc/PID/fd names it, ``pipe:[123]`` say.

    ``peer`` is the far end of a TCP connection, ``127.0.0.1:29500``, or ``listens on 29500``; ``port`` is its near end.
    ``watches`` are the descriptors that an epoll waits for, ``pid`` the process that a pidfd stands for. Shared memory
    that is mapped and has no descriptor any more stands with the ``fd`` -1.
    """

    fd: int
    target: str
    mode: Literal["r", "w", "rw"] | None = None
    peer: str | None = None
    port: int | None = None
    watches: tuple[int, ...] = ()
    pid: int | None = None


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process at one moment; the first thread is its main thread.

    ``start_ticks`` tells a process from a later one of the same pid. ``stack_source`` is who gave the stacks
    (``py-spy``, ``py-spy --native``, ``faulthandler``), ``stack_error`` why there are none or fewer. ``files`` holds
    the standard streams, pipes, sockets, event queues, GPU devices and files in /dev/shm, no others. ``lock_holders``
    are the pids that hold a file lock for which it waits.
    """

    pid: int
    ppid: int
    name: str
    command: tuple[str, ...]
    state: str
    cpu_s: float
    rss_bytes: int
    start_ticks: int
    threads: tuple[Thread, ...] = ()
    files: tuple[OpenFile, ...] = ()
    lock_holders: tuple[int, ...] = ()
    stack_source: str | None = None
    stack_error: str | None = None


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One GPU at one moment. A figure is None where the tool did not give it."""

    index: int
    utilisation_percent: float | None = None
    vram_used_bytes: int | None = None
    vram_total_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class GpuHolder:
    """A process that holds a GPU."""

    pid: int
    name: str
    vram_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class GpuSample:
    """All GPUs at one moment. ``source`` is the tool that was asked: amd-smi, rocm-smi, nvidia-smi or sysfs."""

    source: str
    readings: tuple[GpuReading, ...] = ()
    holders: tuple[GpuHolder, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The whole tree and the GPUs at one moment, ``at_s`` after the start. ``gpu`` is None where nobody could tell."""

    at_s: float
    processes: tuple[Process, ...]
    gpu: GpuSample | None = None


@dataclass(frozen=True, kw_only=True)
class NotCollected:
    """A piece of evidence that could not be had, and why."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was read before the kill: two samples seconds apart, and what the machine says.

    ``samples`` holds fewer than two where the tree ended meanwhile. ``memory`` holds bytes and counts by name, among
    them ``oom_kills``: how many processes the kernel killed for memory while the command ran (absent: not readable).
    ``shm`` is {path: bytes} in /dev/shm. ``devcoredumps`` are the names of the files copied beside the record.
    """

    samples: tuple[Sample, ...] = ()
    kernel_log: tuple[str, ...] = ()
    devcoredumps: tuple[str, ...] = ()
    shm: dict[str, int] | None = None
    memory: dict[str, int] | None = None
    not_collected: tuple[NotCollected, ...] = ()
