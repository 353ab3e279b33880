"""What a command left on the machine after its last process was gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from triage.hangs._gpu import ROOT, has_gpu, read_gpus, read_sysfs
from triage.hangs._machine import Baseline, read_shm, sum_vram
from triage.hangs._procfs import list_fds, read_tcp
from triage.hangs._record import Leftover, Residue
from triage.hangs._tree import read_mapped_shm
from triage.machine.asking import ask_all

_SETTLE_S = 3.0  # a driver gives memory back a moment after the death of its holder
_VRAM_BYTES = 64 << 20  # less is the driver's own coming and going
_TOOL_S = 3.0
_HELD_S = 3.0


def read_residue(
    baseline: Baseline,
    *,
    survivors: Iterable[Leftover] = (),
    pids: Iterable[int] = (),
    ports: Iterable[int] = (),
    root: Path = ROOT,
) -> Residue:
    """What stayed of /dev/shm, ports and GPU memory. To be read when the tree is gone.

    ``ports`` are those that the tree was seen listening on, ``pids`` all that it was seen to have had. A new file in
    /dev/shm that a living process outside the tree holds is that one's, no residue.
    """
    tree = {*pids, *(leftover.pid for leftover in survivors)}
    return Residue(
        shm=_read_left_shm(baseline, tree),
        ports=_read_left_ports(ports),
        vram_bytes=_read_left_vram(baseline, root),
        survivors=tuple(survivors),
    )


def _read_left_shm(baseline: Baseline, tree: set[int]) -> dict[str, int] | None:
    now = read_shm()
    if now is None or baseline.shm is None:
        return None
    new = {path: size for path, size in now.items() if path not in baseline.shm}
    if not new:
        return {}
    others = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) not in tree]
    # Side by side: the mappings of a process in state D may keep their reader waiting.
    answers = ask_all({pid: partial(_list_held, pid) for pid in others}, limit_s=_HELD_S)
    held = set().union(*answers.given.values())
    return {path: size for path, size in new.items() if path not in held}


def _list_held(pid: int) -> set[str]:
    return read_mapped_shm(pid) | set(list_fds(pid).values())


def _read_left_ports(ports: Iterable[int]) -> tuple[int, ...]:
    wanted = set(ports)
    if not wanted:
        return ()
    return tuple(sorted(wanted & {socket.port for socket in read_tcp().values() if socket.peer is None}))


def _read_left_vram(baseline: Baseline, root: Path) -> int | None:
    if baseline.vram_used_bytes is None or not has_gpu(root=root):
        return None
    deadline = time.monotonic() + _SETTLE_S
    while True:
        used = sum_vram(read_sysfs(root=root) or read_gpus(limit_s=_TOOL_S, root=root)[0])
        if used is None:
            return None
        left = max(0, used - baseline.vram_used_bytes)
        if left < _VRAM_BYTES or time.monotonic() > deadline:
            return left if left >= _VRAM_BYTES else 0
        time.sleep(0.3)
