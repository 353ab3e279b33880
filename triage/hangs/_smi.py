"""The answers of amd-smi, rocm-smi and nvidia-smi. Their shapes differ between versions; what is absent is None."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from triage.hangs._sample import GpuHolder, GpuReading
from triage.machine.smi import load_json

_SCALES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "MIB": 1 << 20, "GB": 1 << 30, "GIB": 1 << 30}  # AMD's MB are MiB
_AMOUNT = re.compile(r"\s*(-?[\d.]+)\s*([A-Za-z%]*)\s*")


def read_amount(value: Any) -> float | None:
    """A figure with or without its unit: bytes for sizes, percent as they are.

    >>> read_amount({"value": 283, "unit": "MB"}), read_amount("45 %"), read_amount("N/A")
    (296747008.0, 45.0, None)
    """
    if isinstance(value, dict):
        amount = read_amount(value.get("value"))
        return None if amount is None else amount * _SCALES.get(str(value.get("unit", "")).upper(), 1)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) * _SCALES.get(match[2].upper(), 1) if match else None


def _read_bytes(value: Any) -> int | None:
    amount = read_amount(value)
    return None if amount is None else int(amount)


def parse_amd_metric(text: str) -> tuple[GpuReading, ...]:
    """``amd-smi metric --usage --mem-usage --json``: a list, since ROCm 7 under ``gpu_data``."""
    found = []
    for entry in _amd_entries(load_json(text)):
        usage, memory = entry.get("usage"), entry.get("mem_usage")
        usage = usage if isinstance(usage, dict) else {}
        memory = memory if isinstance(memory, dict) else {}
        found.append(
            GpuReading(
                index=int(entry["gpu"]),
                utilisation_percent=read_amount(usage.get("gfx_activity", usage.get("gfx_usage"))),
                vram_used_bytes=_read_bytes(memory.get("used_vram")),
                vram_total_bytes=_read_bytes(memory.get("total_vram")),
            )
        )
    return tuple(found)


def _amd_entries(data: Any) -> list[dict[str, Any]]:
    rows = data.get("gpu_data", [data]) if isinstance(data, dict) else data
    return [row for row in rows if isinstance(row, dict) and str(row.get("gpu", "")).isdigit()]


def parse_amd_process(text: str) -> tuple[GpuHolder, ...]:
    """``amd-smi process --json``: ``process_info`` is a table, or a sentence where no process runs."""
    held: dict[int, GpuHolder] = {}
    for info in _find_pids(load_json(text)):
        memory = info.get("memory_usage")
        vram = _read_bytes(memory.get("vram_mem")) if isinstance(memory, dict) else _read_bytes(info.get("mem_usage"))
        pid = int(info["pid"])
        before = held[pid].vram_bytes if pid in held else None
        total = vram if before is None else before + (vram or 0)
        held[pid] = GpuHolder(pid=pid, name=os.path.basename(str(info.get("name", ""))), vram_bytes=total)
    return tuple(held.values())


def _find_pids(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, list):
        for item in data:
            yield from _find_pids(item)
    elif isinstance(data, dict):
        if str(data.get("pid", "")).isdigit():
            yield data
        else:
            yield from _find_pids(list(data.values()))


def parse_rocm(text: str) -> tuple[tuple[GpuReading, ...], tuple[GpuHolder, ...]]:
    """``rocm-smi --showuse --showmeminfo vram --showpids --json``: ``card0`` and so on, and ``system``."""
    data = load_json(text)
    readings = tuple(
        GpuReading(
            index=int(name[4:]),
            utilisation_percent=read_amount(card.get("GPU use (%)")),
            vram_used_bytes=_read_bytes(card.get("VRAM Total Used Memory (B)")),
            vram_total_bytes=_read_bytes(card.get("VRAM Total Memory (B)")),
        )
        for name, card in data.items()
        if re.fullmatch(r"card\d+", name)
    )
    holders = []
    for key, value in data.get("system", {}).items():
        if match := re.fullmatch(r"PID(\d+)", key.replace(" ", "")):
            fields = [field.strip() for field in str(value).split(",")]  # name, GPUs, VRAM, SDMA, CU occupancy
            vram = _read_bytes(fields[2]) if len(fields) > 2 else None
            holders.append(GpuHolder(pid=int(match[1]), name=fields[0], vram_bytes=vram))
    return readings, tuple(holders)


def parse_nvidia_gpus(text: str) -> tuple[GpuReading, ...]:
    """``--query-gpu=index,utilization.gpu,memory.used,memory.total --format=csv,noheader,nounits``: sizes in MiB.

    >>> parse_nvidia_gpus("0, 100, 1, 2\\n")[0]
    GpuReading(index=0, utilisation_percent=100.0, vram_used_bytes=1048576, vram_total_bytes=2097152)
    """
    rows = [line.split(",") for line in text.splitlines() if line.count(",") == 3]
    return tuple(
        GpuReading(
            index=int(index),
            utilisation_percent=read_amount(use),
            vram_used_bytes=_read_bytes(f"{used} MiB"),
            vram_total_bytes=_read_bytes(f"{total} MiB"),
        )
        for index, use, used, total in rows
        if index.strip().isdigit()
    )


def parse_nvidia_apps(text: str) -> tuple[GpuHolder, ...]:
    """``--query-compute-apps=pid,used_memory,process_name --format=csv,noheader,nounits``."""
    rows = [line.split(",", 2) for line in text.splitlines() if line.count(",") >= 2]
    return tuple(
        GpuHolder(pid=int(pid), name=os.path.basename(name.strip()), vram_bytes=_read_bytes(f"{used} MiB"))
        for pid, used, name in rows
        if pid.strip().isdigit()
    )
