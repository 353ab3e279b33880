"""Whether this machine can run the cases, and what mends it where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from triage.doctor._check import Check
from triage.doctor._hardware import check_device, check_ptrace, check_smi
from triage.doctor._room import check_cache, check_hub_cache, check_memory, check_shm
from triage.doctor._software import (
    check_adapters,
    check_nvidia_packages,
    check_python,
    check_torch,
    check_torchaudio,
    check_torchvision,
    check_vllm,
)
from triage.result import Family

__all__ = ["Check", "check_machine", "list_able"]

_CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_torch,
    check_vllm,
    check_adapters,
    check_torchvision,
    check_torchaudio,
    check_nvidia_packages,
    check_device,
    check_smi,
    check_ptrace,
    check_memory,
    check_shm,
    check_cache,
    check_hub_cache,
)
# What every case needs, and what only some families do.
_BY_ALL = frozenset({"python", "torch", "vllm", "vllm names", "torchaudio", "nvidia packages", "device", "cache"})
_BY_FAMILY: Mapping[Family, frozenset[str]] = {
    Family.TOKEN_COUNT: frozenset({"memory", "shared memory"}),
    Family.CHECKPOINT_KEYS: frozenset({"memory", "shared memory"}),
    Family.GPU_HANG: frozenset({"memory", "shared memory", "torchvision"}),
    Family.SETTINGS_LEAK: frozenset({"memory", "shared memory"}),
}


def check_machine() -> tuple[Check, ...]:
    """All checks, in the order in which a failure of one explains those below it. Imports neither torch nor vLLM.

    >>> [check.name for check in check_machine()][:2]
    ['python', 'torch']
    """
    return tuple(check() for check in _CHECKS)


def list_able(checks: Sequence[Check], families: Mapping[str, Family]) -> dict[str, tuple[str, ...]]:
    """By case the checks that stand in its way; none for a case that can run here.

    >>> list_able([Check(name="torchvision", ok=False, detail="no")], {"a": Family.GPU_HANG, "b": Family.TOKEN_COUNT})
    {'a': ('torchvision',), 'b': ()}
    """
    failed = [check.name for check in checks if not check.ok]
    return {
        case: tuple(name for name in failed if name in _BY_ALL | _BY_FAMILY.get(family, frozenset()))
        for case, family in families.items()
    }
