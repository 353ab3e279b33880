"""The GPUs as their driver and SMI tool describe them: names, instruction sets, driver, firmware; no serial numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from triage.machine.asking import Output, ask_all, run_tool
from triage.machine.smi import find_tools, load_json
from triage.redaction import redact_text
from triage.settings._record import Gpu, GpuSection, Missing

_ROOT = Path("/")
# Each is a question of its own, asked side by side; a tool that hangs is killed at its limit.
_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "amd-smi static": ("static", "--asic", "--driver", "--vbios", "--vram", "--json"),
    "amd-smi firmware": ("firmware", "--json"),
    "nvidia-smi": (
        "--query-gpu=index,name,driver_version,vbios_version,memory.total,compute_cap",
        "--format=csv,noheader,nounits",
    ),
}
# What tells one board from another of its kind belongs to the machine.
_IDENTITY = re.compile(r"serial|uuid|bdf|unique|oam|bus|fru|node_id|physical|partition_id", re.IGNORECASE)


def read_gpu_section(*, limit_s: float, root: Path = _ROOT) -> tuple[GpuSection, list[Missing]]:
    """What /sys says, and what the SMI tools add within ``limit_s`` seconds; with what was not answered."""
    tools = find_tools(["amd-smi", "nvidia-smi"])
    commands = {
        question: [tools[question.split()[0]], *options]
        for question, options in _QUESTIONS.items()
        if question.split()[0] in tools
    }
    asked = {question: partial(run_tool, command, limit_s=limit_s) for question, command in commands.items()}
    answers = ask_all(asked, limit_s=limit_s + 0.5)
    missing = [Missing(what=question, why=why) for question, why in answers.missing.items()]
    gpus, details = _read_kfd(root), dict[str, str]()
    for question, output in answers.given.items():
        told = _read_output(question, output)
        if isinstance(told, str):
            missing.append(Missing(what=question, why=told))
        elif question == "nvidia-smi":
            gpus = gpus or tuple(_make_nvidia_gpu(row) for row in told)
            details |= {f"gpu{row[0]}.vbios": row[3] for row in told}
        else:
            details |= dict(_flatten(told))
    section = GpuSection(
        driver=_read_driver(root),
        rocm=_read_line(root / "opt/rocm/.info/version"),
        gpus=gpus,
        firmware=_read_firmware(root),
        details={name: redact_text(value) for name, value in sorted(details.items())},
    )
    if not gpus and not tools:
        missing.append(Missing(what="gpu", why="no GPU is seen, and no amd-smi or nvidia-smi is on the PATH"))
    return section, missing


def _read_output(question: str, output: Output) -> Any:
    """The tool's answer, or a sentence on why there is none."""
    if output.text is None:
        return output.why or "it said nothing"
    try:
        if question == "nvidia-smi":
            rows = [[field.strip() for field in line.split(",")] for line in output.text.splitlines()]
            return [row for row in rows if len(row) == 6]
        return load_json(output.text)
    except (ValueError, RecursionError) as error:
        return f"it said what cannot be read: {error}"


def _make_nvidia_gpu(row: list[str]) -> Gpu:
    vram = int(row[4]) << 20 if row[4].isdigit() else None
    return Gpu(name=row[1], arch=f"sm_{row[5].replace('.', '')}", vram_bytes=vram)


def _flatten(data: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested answers as dotted names; a list of GPUs by their numbers; ``{"value": 1, "unit": "MB"}`` as one text."""
    match data:
        case {"value": value, "unit": unit}:
            yield name, f"{value} {unit}".strip()
        case Mapping():
            for key, held in data.items():
                if not _IDENTITY.search(str(key)) and key != "gpu":
                    yield from _flatten(held, f"{name}.{key}".lstrip("."))
        case list():
            for index, held in enumerate(data):
                number = held.get("gpu", index) if isinstance(held, Mapping) else index
                yield from _flatten(held, f"gpu{number}" if not name else f"{name}.{index}")
        case None | "N/A" | "":
            pass
        case _:
            yield name.replace("gpu_data.", "gpu"), str(data)


def _read_kfd(root: Path) -> tuple[Gpu, ...]:
    """The GPUs of AMD's compute driver: nodes of the topology that have SIMDs."""
    found = []
    nodes = (root / "sys/class/kfd/kfd/topology/nodes").glob("*")
    for node in sorted(nodes, key=lambda path: int(path.name) if path.name.isdigit() else 0):
        properties = _read_properties(node / "properties")
        if properties.get("simd_count", 0):
            banks = [_read_properties(bank) for bank in node.glob("mem_banks/*/properties")]
            found.append(
                Gpu(
                    name=_read_line(node / "name"),
                    arch=_name_arch(properties.get("gfx_target_version", 0)),
                    vram_bytes=max((bank.get("size_in_bytes", 0) for bank in banks), default=0) or None,
                )
            )
    return tuple(found)


def _name_arch(version: int) -> str | None:
    """``gfx_target_version`` as the compiler's name: 90402 is gfx942.

    >>> _name_arch(90402), _name_arch(90010), _name_arch(0)
    ('gfx942', 'gfx90a', None)
    """
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}" if version else None


def _read_firmware(root: Path) -> dict[str, str]:
    """The versions that amdgpu shows in /sys, by block; the first GPU speaks for boards that agree."""
    found: dict[str, str] = {}
    for path in sorted((root / "sys/class/drm").glob("card*/device/fw_version/*")):
        name, value = path.name.removesuffix("_fw_version"), _read_line(path)
        if value is not None and found.setdefault(name, value) != value:
            found[f"{path.parents[2].name}.{name}"] = value
    return dict(sorted(found.items()))


def _read_driver(root: Path) -> str | None:
    if version := _read_line(root / "sys/module/amdgpu/version"):
        return f"amdgpu {version}"
    if (root / "sys/module/amdgpu").exists():
        return f"amdgpu of the kernel {os.uname().release}"
    first = _read_line(root / "proc/driver/nvidia/version")
    return " ".join(first.split()) if first else None


def _read_line(path: Path) -> str | None:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    return lines[0].strip() or None if lines else None


def _read_properties(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    try:
        rows = [line.split() for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
