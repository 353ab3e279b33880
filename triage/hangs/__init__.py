"""Hangs: watch a command, tell slow from stuck, and keep the evidence before anything is killed.

>>> HangClass("device_busy").is_hang
True
"""

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
]
