"""Hangs: watch a command, tell slow from stuck, and keep the evidence before anything is killed.

>>> HangClass("device_busy").is_hang
True
"""

from triage.hangs._classify import diagnose
from triage.hangs._device import DeviceWait, find_device_wait
from triage.hangs._record import (
    Diagnosis,
    Ending,
    Evidence,
    Frame,
    GpuHolder,
    GpuReading,
    GpuSample,
    HangClass,
    HangRecord,
    Leftover,
    NotCollected,
    OpenFile,
    PhaseMark,
    Process,
    Progress,
    Residue,
    Sample,
    Thread,
    Tick,
)

__all__ = [
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
    "diagnose",
    "find_device_wait",
]
