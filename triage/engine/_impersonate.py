"""vLLM's platform classes asked without their device: what *would* be resolved on another platform.

Runs inside a probe process only, before anything of vLLM but its platforms is imported. The class is vLLM's own; what
it would ask of the device (name, memory, instruction set) is answered here for one well-known GPU. Kernels are not run,
so this tells which defaults differ, never what they do to numbers.
"""

from __future__ import annotations

import sys
import types
from enum import StrEnum
from typing import Any

from triage.errors import UnsupportedVersionError

_GIB = 2**30


class ResolveAs(StrEnum):
    """The platform whose defaults are resolved."""

    HERE = "here"
    MI300X = "MI300X"  # vLLM's RocmPlatform on gfx942 with 192 GiB
    H100 = "H100"  # vLLM's CudaPlatform on compute capability 9.0 with 80 GiB


def impersonate(platform: ResolveAs) -> None:
    """Makes vLLM's own class of a platform the current one. Raises `UnsupportedVersionError` where it has moved."""
    if platform is ResolveAs.HERE:
        return
    try:
        chosen = _make_rocm() if platform is ResolveAs.MI300X else _make_cuda()
        import vllm.platforms

        vllm.platforms._current_platform = chosen
        vllm.platforms.current_platform = chosen
    except (ImportError, AttributeError, TypeError) as error:
        raise UnsupportedVersionError(
            f"This vLLM's {platform} cannot be asked without its device ({type(error).__name__}: {error}).",
            hint="Resolve on that platform itself.",
        ) from error


def _make_rocm() -> Any:
    import torch

    # Asked while the module is imported, where no amdsmi answers.
    torch.cuda.get_device_properties = lambda *_: types.SimpleNamespace(
        gcnArchName="gfx942:sramecc+:xnack-",
        name="AMD Instinct MI300X",
        total_memory=192 * _GIB,
        multi_processor_count=304,
    )
    from vllm.platforms.rocm import RocmPlatform

    return _name_device(RocmPlatform, name="AMD Instinct MI300X", memory_bytes=192 * _GIB)


def _make_cuda() -> Any:
    # Kernels that a build for another platform does not have; none is run.
    sys.modules.setdefault("vllm._C_stable_libtorch", types.ModuleType("vllm._C_stable_libtorch"))
    from vllm.platforms.cuda import NonNvmlCudaPlatform
    from vllm.platforms.interface import DeviceCapability

    capability = classmethod(lambda *_, **__: DeviceCapability(9, 0))
    return _name_device(
        NonNvmlCudaPlatform,
        name="NVIDIA H100 80GB HBM3",
        memory_bytes=80 * _GIB,
        get_device_capability=capability,
        log_warnings=classmethod(lambda *_: None),
    )


def _name_device(kind: type, *, name: str, memory_bytes: int, **more: Any) -> Any:
    answers = {
        "get_device_name": classmethod(lambda *_, **__: name),
        "get_device_total_memory": classmethod(lambda *_, **__: memory_bytes),
        "device_count": classmethod(lambda *_: 1),
    }
    return type(kind.__name__, (kind,), answers | more)()
