"""What a piece of work left behind in this process and on this machine: between two looks, whoever worked.

`triage.hangs.read_residue` knows the machine's side (shared memory, GPU memory); this adds the process's own:
variables, the working folder, threads, children, listening ports, holders of the GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from triage.hangs import Baseline, list_holders, read_baseline, read_residue
from triage.redaction import redact_json, redact_text, redact_value

_POLL_S = 0.1
_PR_SET_CHILD_SUBREAPER = 36
_END_S = 3.0
# Written anew by pytest for every test, and by nobody else.
_IGNORED_VARIABLES = frozenset({"PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "COLUMNS", "LINES"})


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state at one moment. ``children`` are all descendants that are alive, by pid, ``ports`` by port."""

    environ: Mapping[str, str]
    folder: str | None
    threads: frozenset[threading.Thread]
    children: Mapping[int, str]
    ports: Mapping[int, str]
    holders: Mapping[int, str]
    baseline: Baseline


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What is there after the work that was not before. ``variables`` are ``[before, after]``, None where unset.

    ``vram_bytes`` is what all GPUs together hold more than before; None where nobody can tell.
    """

    variables: dict[str, list[str | None]] = field(default_factory=dict)
    folder: list[str] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    children: dict[int, str] = field(default_factory=dict)
    ports: dict[int, str] = field(default_factory=dict)
    gpu_holders: dict[int, str] = field(default_factory=dict)
    shm: dict[str, int] = field(default_factory=dict)
    vram_bytes: int | None = None

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    @property
    def may_settle(self) -> bool:
        """Whether something is left that may still be on its way out: processes end, and drivers free memory, late."""
        return bool(self.children or self.ports or self.gpu_holders or self.shm or self.vram_bytes or self.threads)

    def describe(self) -> list[str]:
        """A sentence for each kind, redacted.

        >>> Leftovers(variables={"CI": [None, "1"]}, vram_bytes=3 << 30).describe()
        ['variable CI set to 1, was unset', 'GPU memory: 3,072 MiB more than before']
        """
        return list(self._tell())

    def _tell(self) -> Iterator[str]:
        for name, (old, new) in self.variables.items():
            was = "unset" if old is None else redact_value(name, old) or "empty"
            now = "unset" if new is None else f"set to {redact_value(name, new) or 'nothing'}"
            yield f"variable {name} {now}, was {was}"
        if self.folder:
            yield f"working folder {redact_text(self.folder[1])}, was {redact_text(self.folder[0])}"
        yield from (f"thread {name}" for name in self.threads)
        yield from (f"process {redact_text(name)} ({pid})" for pid, name in self.children.items())
        yield from (f"port {port} taken by {name}" for port, name in self.ports.items())
        yield from (f"GPU held by {name} ({pid})" for pid, name in self.gpu_holders.items())
        yield from (f"shared memory {path}: {size:,} bytes" for path, size in self.shm.items())
        if self.vram_bytes:
            yield f"GPU memory: {self.vram_bytes / 2**20:,.0f} MiB more than before"

    def to_json(self) -> dict[str, Any]:
        """Everything by kind, redacted."""
        held: dict[str, Any] = redact_json(asdict(self))
        return held


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What was left at once, what of it was still there after waiting, and how long the rest took to go."""

    at_once: Leftovers
    left: Leftovers
    waited_s: float


def take_snapshot() -> Snapshot:
    """The state now; some milliseconds, and no tool is asked where the driver tells by itself."""
    tree = _list_tree()
    return Snapshot(
        environ={name: value for name, value in os.environ.items() if name not in _IGNORED_VARIABLES},
        folder=_read_folder(),
        threads=frozenset(thread for thread in threading.enumerate() if not thread.daemon),
        children={process.pid: _name(process) for process in tree[1:]},
        ports=_list_ports(tree),
        holders={holder.pid: holder.name for holder in list_holders()},
        baseline=read_baseline(),
    )


def compare_snapshot(before: Snapshot) -> Leftovers:
    """What is there now that was not ``before``."""
    now = take_snapshot()
    residue = read_residue(before.baseline, pids=[os.getpid(), *now.children])
    names = sorted({*before.environ, *now.environ})
    moved = before.folder is not None and now.folder != before.folder
    return Leftovers(
        variables={
            name: [before.environ.get(name), now.environ.get(name)]
            for name in names
            if before.environ.get(name) != now.environ.get(name)
        },
        folder=[str(before.folder), str(now.folder)] if moved else [],
        threads=sorted(thread.name for thread in now.threads - before.threads if thread.is_alive()),
        children={pid: name for pid, name in now.children.items() if pid not in before.children},
        ports={port: name for port, name in now.ports.items() if port not in before.ports},
        gpu_holders={pid: name for pid, name in now.holders.items() if pid not in before.holders},
        shm=dict(residue.shm or {}),
        vram_bytes=residue.vram_bytes,
    )


def wait_to_settle(
    before: Snapshot, *, settle_s: float, look: Callable[[Snapshot], Leftovers] = compare_snapshot
) -> Settled:
    """Looks until nothing is left that may go by itself, for ``settle_s`` seconds at the longest.

    vLLM's own tests wait for GPU memory in this way: a driver gives it back some time after its holder has ended.
    """
    began = time.monotonic()
    at_once = left = look(before)
    while left.may_settle and time.monotonic() - began < settle_s:
        time.sleep(_POLL_S)
        left = look(before)
    return Settled(at_once=at_once, left=left, waited_s=time.monotonic() - began if at_once.may_settle else 0.0)


def restore(before: Snapshot, left: Leftovers) -> None:
    """Puts variables and folder back, ends the processes that were left, and removes their files in /dev/shm."""
    for name, (old, _) in left.variables.items():
        os.environ.pop(name, None)
        if old is not None:
            os.environ[name] = old
    if left.folder and before.folder is not None:
        os.chdir(before.folder)
    processes = []
    for pid in left.children:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                end(process)
        _, processes = psutil.wait_procs(processes, timeout=_END_S)
    for path in left.shm:
        with contextlib.suppress(OSError):
            os.unlink(path)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parent ends: a daemon of a test stays in sight."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _list_tree() -> list[psutil.Process]:
    """This process, and its descendants that are alive."""
    own = psutil.Process()
    found = [own]
    for process in own.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        words = process.cmdline()
        return " ".join(words)[:120] if words else process.name()
    return "?"


def _list_ports(tree: list[psutil.Process]) -> dict[int, str]:
    found = {}
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = f"{process.name()} ({process.pid})"
    return found


def _read_folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed under the process
        return None
