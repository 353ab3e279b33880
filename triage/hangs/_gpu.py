"""The GPUs at one moment: from /sys where the driver tells, and from the SMI tools, each with its own limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage.hangs._procfs import list_fds, read_stat, read_text
from triage.hangs._sample import GpuHolder, GpuReading, GpuSample, NotCollected
from triage.hangs._smi import (
    parse_amd_metric,
    parse_amd_process,
    parse_nvidia_apps,
    parse_nvidia_gpus,
    parse_rocm,
)
from triage.machine.asking import ask_all, run_tool
from triage.machine.smi import find_tools

ROOT = Path("/")
_DEVICES = ("/dev/kfd", "/dev/nvidia0")


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A call of a tool, and how its answer is read: into readings and holders."""

    options: tuple[str, ...]
    parse: Callable[[str], tuple[tuple[GpuReading, ...], tuple[GpuHolder, ...]]]


_TOOLS: dict[str, tuple[_Question, ...]] = {
    "amd-smi": (
        _Question(
            options=("metric", "--usage", "--mem-usage", "--json"), parse=lambda text: (parse_amd_metric(text), ())
        ),
        _Question(options=("process", "--json"), parse=lambda text: ((), parse_amd_process(text))),
    ),
    "rocm-smi": (_Question(options=("--showuse", "--showmeminfo", "vram", "--showpids", "--json"), parse=parse_rocm),),
    "nvidia-smi": (
        _Question(
            options=(
                "--query-gpu=index,utilization.gpu,memory.used,memory.total",
                "--format=csv,noheader,nounits",
            ),
            parse=lambda text: (parse_nvidia_gpus(text), ()),
        ),
        _Question(
            options=("--query-compute-apps=pid,used_memory,process_name", "--format=csv,noheader,nounits"),
            parse=lambda text: ((), parse_nvidia_apps(text)),
        ),
    ),
}


def has_gpu(*, root: Path = ROOT) -> bool:
    """Whether a driver for computing is loaded here: cheap, and no tool is asked."""
    return any((root / device.lstrip("/")).exists() for device in _DEVICES) or bool(_list_cards(root))


def _list_cards(root: Path) -> list[Path]:
    """The folders of the GPUs of amdgpu, in the order of their numbers. A connector, ``card0-DP-1``, is none."""
    folders = (root / "sys/class/drm").glob("card*/device")
    cards = [
        folder for folder in folders if folder.parent.name[4:].isdigit() and (folder / "gpu_busy_percent").exists()
    ]
    return sorted(cards, key=lambda folder: int(folder.parent.name[4:]))


def read_sysfs(*, root: Path = ROOT) -> GpuSample | None:
    """What amdgpu tells in /sys, at next to no cost; None where there is no such GPU."""
    cards = _list_cards(root)
    readings = tuple(
        GpuReading(
            index=index,
            utilisation_percent=_read_number(card / "gpu_busy_percent"),
            vram_used_bytes=_read_number(card / "mem_info_vram_used"),
            vram_total_bytes=_read_number(card / "mem_info_vram_total"),
        )
        for index, card in enumerate(cards)
    )
    return GpuSample(source="sysfs", readings=readings, holders=list_holders(root=root)) if cards else None


def _read_number(path: Path) -> int | None:
    text = read_text(str(path))
    return int(text) if text and text.isdigit() else None


def list_holders(*, root: Path = ROOT) -> tuple[GpuHolder, ...]:
    """Every process that has the device of a GPU open, as far as one may see."""
    if not any((root / device.lstrip("/")).exists() for device in _DEVICES):
        return ()
    holders = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and any(target in _DEVICES for target in list_fds(int(entry)).values()):
            stat = read_stat(f"/proc/{entry}")
            holders.append(GpuHolder(pid=int(entry), name=stat.name if stat else ""))
    return tuple(holders)


def read_gpus(
    *, limit_s: float, root: Path = ROOT, only: Collection[str] | None = None
) -> tuple[GpuSample | None, tuple[NotCollected, ...]]:
    """What the first tool that answers says, with what /sys and /proc add; and what was not answered.

    The tools are asked side by side: one that never returns keeps none of the others. ``only`` names the tools to
    ask. None where nobody could tell.
    """
    tools = {name: program for name, program in find_tools(_TOOLS).items() if only is None or name in only}
    answers = ask_all(
        {name: _make_asker(name, program, limit_s) for name, program in tools.items()}, limit_s=limit_s + 0.5
    )
    missing = [NotCollected(what=name, why=why) for name, why in answers.missing.items()]
    samples = []
    for name in answers.given:
        sample, whys = answers.given[name]
        missing += [NotCollected(what=name, why=why) for why in whys]
        if sample is not None:
            samples.append(sample)
    samples.sort(key=lambda sample: list(_TOOLS).index(sample.source))
    sysfs = read_sysfs(root=root)
    best = next((sample for sample in [*samples, *([sysfs] if sysfs else [])] if sample.readings), None)
    if best is None:
        if not tools and only is None:
            where = "a GPU is there, but no" if has_gpu(root=root) else "no GPU is seen, and no"
            missing.append(NotCollected(what="gpu", why=f"{where} amd-smi, rocm-smi or nvidia-smi is on the PATH"))
        return None, tuple(missing)
    holders = {holder.pid: holder for holder in (*list_holders(root=root), *(h for s in samples for h in s.holders))}
    return GpuSample(source=best.source, readings=best.readings, holders=tuple(holders.values())), tuple(missing)


def _make_asker(name: str, program: str, limit_s: float) -> Callable[[], tuple[GpuSample | None, list[str]]]:
    def ask() -> tuple[GpuSample | None, list[str]]:
        questions: dict[int, Any] = {
            number: _make_question(program, question, limit_s) for number, question in enumerate(_TOOLS[name])
        }
        answers = ask_all(questions, limit_s=limit_s + 0.4)
        whys = list(dict.fromkeys(answers.missing.values()))
        readings: tuple[GpuReading, ...] = ()
        holders: tuple[GpuHolder, ...] = ()
        for told, why in answers.given.values():
            if told is None:
                whys.append(why)
            else:
                readings, holders = readings + told[0], holders + told[1]
        sample = GpuSample(source=name, readings=readings, holders=holders) if readings or holders else None
        return sample, list(dict.fromkeys(whys))

    return ask


def _make_question(program: str, question: _Question, limit_s: float) -> Callable[[], tuple[Any, str | None]]:
    def ask() -> tuple[Any, str | None]:
        output = run_tool([program, *question.options], limit_s=limit_s)
        if output.text is None:
            return None, output.why
        try:
            return question.parse(output.text), None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return None, f"{os.path.basename(program)} said what cannot be read: {error}"

    return ask
