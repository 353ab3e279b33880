"""One GPU for each job: which ones there are, and a lock on each that every ``triage run`` of the machine respects."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from triage.errors import StorageError

GPUS_VARIABLE = "TRIAGE_GPUS"
LOCKS_VARIABLE = "TRIAGE_GPU_LOCKS"
_LOCKS = Path("/tmp/triage-gpu-locks")  # one folder for all users of the machine, whatever their TMPDIR
# vLLM on ROCm refuses two that differ, so a job gets both.
_CHOOSERS = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as the environment names it; ``lock`` is its name for everybody on the machine."""

    index: str
    lock: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a job needs to use its GPU and no other, and to keep its lock until its last process has ended."""

    env: Mapping[str, str]
    hold: tuple[int, ...] = ()


NO_DEVICE = Device(env={})


def list_gpus(environ: Mapping[str, str] | None = None, *, root: Path = Path("/")) -> tuple[Gpu, ...]:
    """The GPUs that jobs may use; none on a machine without.

    ``TRIAGE_GPUS`` names them where it is set (``0,1``; empty for none). Else the variables that already narrow this
    process down do, ``HIP_VISIBLE_DEVICES``, ``CUDA_VISIBLE_DEVICES`` or ``ROCR_VISIBLE_DEVICES``; else every GPU that
    the kernel driver shows.

    >>> [gpu.index for gpu in list_gpus({"HIP_VISIBLE_DEVICES": "2,3"})]
    ['2', '3']
    >>> list_gpus({"ROCR_VISIBLE_DEVICES": "GPU-abc"})
    (Gpu(index='0', lock='GPU-abc'),)
    """
    environ = os.environ if environ is None else environ
    for name in (GPUS_VARIABLE, *_CHOOSERS):
        if name in environ:
            return tuple(Gpu(index=word, lock=word) for word in _split(environ[name]))
    if "ROCR_VISIBLE_DEVICES" in environ:  # HIP counts within it
        words = _split(environ["ROCR_VISIBLE_DEVICES"])
        return tuple(Gpu(index=str(number), lock=word) for number, word in enumerate(words))
    return tuple(Gpu(index=str(number), lock=str(number)) for number in range(_count_gpus(root)))


def _split(words: str) -> list[str]:
    """The devices before the first that is none: HIP and CUDA stop there, too."""
    found = []
    for word in filter(None, (word.strip() for word in words.split(","))):
        if word == "-1":
            break
        found.append(word)
    return found


def _count_gpus(root: Path) -> int:
    """AMD's, else NVIDIA's. A container that may not use a GPU cannot read its properties either."""
    amd = 0
    for properties in root.glob("sys/class/kfd/kfd/topology/nodes/*/properties"):
        try:
            text = properties.read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        amd += re.search(r"^simd_count [1-9]", text, re.MULTILINE) is not None  # a node without is a CPU
    return amd or len(list(root.glob("proc/driver/nvidia/gpus/*")))


class GpuPool:
    """The GPUs of a run, each lent to one job at a time; without GPUs jobs are lent nothing and never wait."""

    def __init__(self, gpus: Sequence[Gpu], *, locks: Path | None = None) -> None:
        self.gpus = tuple(gpus)
        self._locks = locks or Path(os.environ.get(LOCKS_VARIABLE) or _LOCKS)

    @contextmanager
    def lend(self, stop: threading.Event, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[Device | None]:
        """Waits for a free GPU, which ``on_wait`` hears; None where there is none before ``stop`` is set.

        A lock is a ``flock``, which ends with the last process that holds it. Raises `StorageError` where the folder
        of the locks cannot be written.
        """
        if not self.gpus:
            yield NO_DEVICE
            return
        taken = self._take()
        if taken is None:
            on_wait()
        while taken is None and not stop.wait(_LOOK_EVERY_S):
            taken = self._take()
        if taken is None:
            yield None
            return
        gpu, descriptor = taken
        try:
            yield Device(env=dict.fromkeys(_CHOOSERS, gpu.index), hold=(descriptor,))
        finally:
            os.close(descriptor)

    def _take(self) -> tuple[Gpu, int] | None:
        for gpu in self.gpus:
            descriptor = self._open(gpu)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                return gpu, descriptor
        return None

    def _open(self, gpu: Gpu) -> int:
        path = self._locks / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', gpu.lock)}.lock"
        try:
            if not self._locks.is_dir():
                self._locks.mkdir(parents=True, exist_ok=True)
                self._locks.chmod(0o1777)  # other users lock the same GPUs
            if not path.exists():
                os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o666))
            return os.open(path, os.O_RDONLY)  # a sticky folder forbids O_CREAT on another user's file
        except OSError as error:
            raise StorageError(
                f"The GPU lock {path} cannot be opened ({error.strerror or error}).",
                hint=f"Set {LOCKS_VARIABLE} to a folder that all users of this machine can write.",
            ) from error
