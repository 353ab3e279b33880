"""Hangs: watch a command, tell slow from stuck, and keep the evidence before anything is killed.

The public names load on first use: a watch must cost a healthy command next to nothing.

>>> from triage.hangs import HangClass
>>> HangClass("device_busy").is_hang
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triage.hangs._classify import diagnose
    from triage.hangs._collect import collect_evidence, take_sample
    from triage.hangs._device import DeviceWait, find_device_wait
    from triage.hangs._faulthandler import prepare_stacks
    from triage.hangs._gpu import list_holders
    from triage.hangs._machine import Baseline, read_baseline
    from triage.hangs._plot import explain_record, plot_timeline
    from triage.hangs._ptrace import why_no_ptrace
    from triage.hangs._read import parse_record, read_record
    from triage.hangs._record import (
        Diagnosis,
        Ending,
        HangClass,
        HangRecord,
        Leftover,
        PhaseMark,
        Progress,
        Residue,
        Tick,
    )
    from triage.hangs._residue import read_residue
    from triage.hangs._sample import (
        Evidence,
        Frame,
        GpuHolder,
        GpuReading,
        GpuSample,
        NotCollected,
        OpenFile,
        Process,
        Sample,
        Thread,
    )
    from triage.hangs._startup import watch_startup
    from triage.hangs._tables import compare_records, compare_stacks
    from triage.hangs._tree import read_listening_ports
    from triage.hangs._watch import watch_command

_HOME = {
    "why_no_ptrace": "_ptrace",
    "Baseline": "_machine",
    "DeviceWait": "_device",
    "Diagnosis": "_record",
    "Ending": "_record",
    "Evidence": "_sample",
    "Frame": "_sample",
    "GpuHolder": "_sample",
    "GpuReading": "_sample",
    "GpuSample": "_sample",
    "HangClass": "_record",
    "HangRecord": "_record",
    "Leftover": "_record",
    "NotCollected": "_sample",
    "OpenFile": "_sample",
    "PhaseMark": "_record",
    "Process": "_sample",
    "Progress": "_record",
    "Residue": "_record",
    "Sample": "_sample",
    "Thread": "_sample",
    "Tick": "_record",
    "collect_evidence": "_collect",
    "compare_records": "_tables",
    "compare_stacks": "_tables",
    "diagnose": "_classify",
    "explain_record": "_plot",
    "find_device_wait": "_device",
    "list_holders": "_gpu",
    "parse_record": "_read",
    "plot_timeline": "_plot",
    "prepare_stacks": "_faulthandler",
    "read_baseline": "_machine",
    "read_listening_ports": "_tree",
    "read_record": "_read",
    "read_residue": "_residue",
    "take_sample": "_collect",
    "watch_command": "_watch",
    "watch_startup": "_startup",
}

__all__ = [
    "Baseline",
    "DeviceWait",
    "Diagnosis",
    "Ending",
    "Evidence",
    "Frame",
    "GpuHolder",
    "GpuReading",
    "GpuSample",
    "HangClass",
    "HangRecord",
    "Leftover",
    "NotCollected",
    "OpenFile",
    "PhaseMark",
    "Process",
    "Progress",
    "Residue",
    "Sample",
    "Thread",
    "Tick",
    "collect_evidence",
    "compare_records",
    "compare_stacks",
    "diagnose",
    "explain_record",
    "find_device_wait",
    "list_holders",
    "parse_record",
    "plot_timeline",
    "prepare_stacks",
    "read_baseline",
    "read_listening_ports",
    "read_record",
    "read_residue",
    "take_sample",
    "watch_command",
    "watch_startup",
    "why_no_ptrace",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"triage.hangs.{_HOME[name]}"), name)
    raise AttributeError(f"module 'triage.hangs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
