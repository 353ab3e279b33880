"""The GPU, who may use it, what tells of it, and whether one process may look into another."""

from __future__ import annotations

import os
from pathlib import Path

from triage.doctor._check import Check
from triage.doctor._software import read_platform_or_none
from triage.engine.environment import Platform
from triage.hangs import why_no_ptrace
from triage.machine.asking import run_tool
from triage.machine.smi import find_tools

_KFD = Path("/dev/kfd")
_NVIDIA = Path("/dev/nvidiactl")
_RENDER = Path("/dev/dri")
_SMI_LIMIT_S = 10.0
# Which tool is asked what, to see whether it answers at all.
_SMI = {"amd-smi": ("list", "--json"), "rocm-smi": ("--showid", "--json"), "nvidia-smi": ("-L",)}
_CONTAINER = "Start the container with --device /dev/kfd --device /dev/dri --group-add=video"
_GROUPS = "Join its groups: usermod -aG video,render $USER, then log in again; in a container add --group-add=video"


def check_device() -> Check:
    """Whether the device of an AMD GPU is there and may be opened; its render nodes, too."""
    if not _KFD.exists():
        if read_platform_or_none() is Platform.ROCM:
            return Check(
                name="device", ok=False, detail="torch is built for HIP, and there is no /dev/kfd", mend=_CONTAINER
            )
        kind = "an NVIDIA GPU" if _NVIDIA.exists() else "no AMD GPU: cases run on the CPU, and say what needs a device"
        return Check(name="device", ok=True, detail=kind)
    closed = [str(path) for path in (_KFD, *sorted(_RENDER.glob("renderD*"))) if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        return Check(
            name="device", ok=False, detail=f"{', '.join(closed)} is there and may not be opened", mend=_GROUPS
        )
    if not any(_RENDER.glob("renderD*")):
        return Check(name="device", ok=False, detail="/dev/kfd without a render node in /dev/dri", mend=_CONTAINER)
    return Check(name="device", ok=True, detail="/dev/kfd and its render nodes")


def check_smi() -> Check:
    """Whether an SMI tool answers: without one a hang is told from work by less."""
    tools = find_tools(_SMI)
    if not tools:
        if _KFD.exists():
            return Check(
                name="smi", ok=False, detail="no amd-smi and no rocm-smi", mend="apt-get install amd-smi-lib, as root"
            )
        return Check(name="smi", ok=True, detail="none, and no AMD GPU to ask about")
    answers = {name: run_tool([path, *_SMI[name]], limit_s=_SMI_LIMIT_S) for name, path in tools.items()}
    working = [name for name, output in answers.items() if output.text is not None]
    silent = [f"{output.why}" for output in answers.values() if output.text is None]
    if not working and _KFD.exists():
        return Check(
            name="smi", ok=False, detail="; ".join(silent), mend="Look at the kernel's log: dmesg | grep -i amdgpu"
        )
    return Check(name="smi", ok=True, detail="; ".join([*working, *silent]))


def check_ptrace() -> Check:
    """Whether py-spy may read the stacks of another process, as `triage watch` wants to."""
    why = why_no_ptrace()
    if why is None:
        return Check(name="ptrace", ok=True, detail="one process may look into another")
    mend = "Start the container with --cap-add=SYS_PTRACE --security-opt seccomp=unconfined"
    return Check(name="ptrace", ok=True, detail=f"{why}; `triage watch` has Python's own stacks only", mend=mend)
