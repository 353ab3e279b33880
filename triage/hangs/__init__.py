"""Hangs: watch a command, tell slow from stuck, and keep the evidence before anything is killed.

>>> HangClass("device_busy").is_hang
True
"""

from triage.hangs._collect import collect_evidence, take_sample
from triage.hangs._faulthandler import prepare_stacks
from triage.hangs._machine import Baseline, read_baseline
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
from triage.hangs._residue import read_residue
from triage.hangs._tree import read_listening_ports

__all__ = [
    "Baseline",
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
    "prepare_stacks",
    "read_baseline",
    "read_listening_ports",
    "read_residue",
    "take_sample",
]
