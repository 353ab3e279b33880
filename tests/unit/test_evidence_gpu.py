"""GPUs: what the tools print, in the shapes of several versions, and tools that print rubbish or never return."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.evidence_programs import SLEEP, Programs, is_alive, wait_until
from triage.hangs import GpuHolder, GpuReading, collect_evidence, read_baseline
from triage.hangs._gpu import has_gpu, list_holders, read_gpus, read_sysfs
from triage.hangs._smi import parse_amd_metric, parse_amd_process, parse_rocm

GIB = 1 << 30

METRIC_ROWS = [
    {
        "gpu": 0,
        "usage": {"gfx_activity": {"value": 100, "unit": "%"}, "umc_activity": {"value": 3, "unit": "%"}},
        "mem_usage": {
            "total_vram": {"value": 196592, "unit": "MB"},
            "used_vram": {"value": 1024, "unit": "MB"},
            "free_vram": {"value": 195568, "unit": "MB"},
        },
    },
    {"gpu": 1, "usage": "N/A", "mem_usage": {"total_vram": "N/A", "used_vram": "N/A"}},
]
PROCESS_ROWS = [
    {
        "gpu": 0,
        "process_list": [
            {
                "process_info": {
                    "name": "/usr/bin/python3.12",
                    "pid": 4711,
                    "memory_usage": {
                        "gtt_mem": {"value": 2097152, "unit": "B"},
                        "cpu_mem": {"value": 0, "unit": "B"},
                        "vram_mem": {"value": 1073741824, "unit": "B"},
                    },
                    "mem_usage": {"value": 1075838976, "unit": "B"},
                }
            }
        ],
    },
    {"gpu": 1, "process_list": [{"process_info": "No running processes detected"}]},
]
ROCM = {
    "card0": {
        "GPU use (%)": "0",
        "VRAM Total Memory (B)": "205822885888",
        "VRAM Total Used Memory (B)": "1073741824",
    },
    "system": {"PID4711": "python3, 1, 536870912, 0, 0", "PID 4712": "VLLM::EngineCor, 1, 1024, 0, unknown"},
}
AMD = (
    GpuReading(index=0, utilisation_percent=100, vram_used_bytes=GIB, vram_total_bytes=196592 << 20),
    GpuReading(index=1),
)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first on the PATH; nothing of a real GPU's tools is behind it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    rest = [entry for entry in os.environ["PATH"].split(os.pathsep) if not list(Path(entry).glob("*-smi"))]
    monkeypatch.setenv("PATH", os.pathsep.join((str(folder), *rest)))
    return folder


@pytest.fixture
def programs() -> Iterator[Programs]:
    programs = Programs()
    yield programs
    programs.end()


def write_tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def write_amd_smi(folder: Path, metric: object, process: object) -> None:
    (folder / "metric.json").write_text(json.dumps(metric))
    (folder / "process.json").write_text(json.dumps(process))
    write_tool(folder, "amd-smi", f'cat "{folder}/$1.json"')


def write_card(root: Path, number: int, *, busy: int, used: int) -> None:
    device = root / f"sys/class/drm/card{number}/device"
    device.mkdir(parents=True)
    (device / "gpu_busy_percent").write_text(f"{busy}\n")
    (device / "mem_info_vram_used").write_text(f"{used}\n")
    (device / "mem_info_vram_total").write_text(f"{256 * GIB}\n")
    (root / f"sys/class/drm/card{number}-DP-1/device").mkdir(parents=True)


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"gpu_data": rows}], ids=["6.x", "7.x"])
def test_amd_smi_of_either_major_version_is_understood(tools: Path, tmp_path: Path, wrap: object) -> None:
    write_amd_smi(tools, wrap(METRIC_ROWS), PROCESS_ROWS)
    sample, missing = read_gpus(limit_s=30, root=tmp_path)
    assert sample is not None
    assert (sample.source, sample.readings) == ("amd-smi", AMD)
    assert sample.holders == (GpuHolder(pid=4711, name="python3.12", vram_bytes=GIB),)
    assert missing == ()


def test_values_of_old_amd_smi_are_text_with_a_unit() -> None:
    row = {"gpu": 0, "usage": {"gfx_activity": "7 %"}, "mem_usage": {"used_vram": "16 MB", "total_vram": "32 GB"}}
    [reading] = parse_amd_metric(json.dumps([row]))
    assert (reading.utilisation_percent, reading.vram_used_bytes, reading.vram_total_bytes) == (7, 16 << 20, 32 * GIB)


def test_a_process_on_two_gpus_is_one_holder_with_the_sum() -> None:
    rows = [PROCESS_ROWS[0], PROCESS_ROWS[0] | {"gpu": 1}]
    assert parse_amd_process(json.dumps(rows)) == (GpuHolder(pid=4711, name="python3.12", vram_bytes=2 * GIB),)


def test_rocm_smi_is_asked_where_amd_smi_fails(tools: Path, tmp_path: Path) -> None:
    write_tool(tools, "amd-smi", 'echo "AMDSMI_STATUS_NOT_INIT" >&2; exit 34')
    write_tool(
        tools, "rocm-smi", f"echo 'WARNING: AMD GPU device(s) is/are in a low-power state.'\necho '{json.dumps(ROCM)}'"
    )
    sample, missing = read_gpus(limit_s=30, root=tmp_path)
    assert sample is not None
    assert sample.source == "rocm-smi"
    assert sample.readings[0].vram_used_bytes == GIB
    assert [(holder.pid, holder.name, holder.vram_bytes) for holder in sample.holders] == [
        (4711, "python3", 512 << 20),
        (4712, "VLLM::EngineCor", 1024),
    ]
    assert [(item.what, item.why) for item in missing] == [("amd-smi", "amd-smi ended with 34: AMDSMI_STATUS_NOT_INIT")]


def test_nvidia_smi_is_understood(tools: Path, tmp_path: Path) -> None:
    write_tool(
        tools,
        "nvidia-smi",
        'case "$1" in\n'
        "*compute-apps*) echo '4711, 514, /usr/bin/python, with a comma'; echo '4712, [N/A], [Not Found]';;\n"
        "*) echo '0, 100, 1024, 143771'; echo '1, [N/A], 0, 143771';;\nesac",
    )
    sample, missing = read_gpus(limit_s=30, root=tmp_path)
    assert sample is not None
    assert sample.readings == (
        GpuReading(index=0, utilisation_percent=100, vram_used_bytes=GIB, vram_total_bytes=143771 << 20),
        GpuReading(index=1, utilisation_percent=None, vram_used_bytes=0, vram_total_bytes=143771 << 20),
    )
    assert [(holder.pid, holder.vram_bytes) for holder in sample.holders] == [(4711, 514 << 20), (4712, None)]
    assert missing == ()


@pytest.mark.parametrize("rubbish", ["", "no JSON", "[1, 2", "[[]]", '{"card0": 5}', '[{"gpu": 0, "usage": []}]'])
def test_rubbish_is_named_and_never_raised(tools: Path, tmp_path: Path, rubbish: str) -> None:
    for name in ("amd-smi", "rocm-smi"):
        write_tool(tools, name, f"cat <<'END'\n{rubbish}\nEND")
    sample, missing = read_gpus(limit_s=30, root=tmp_path)
    figures = [] if sample is None else [reading for reading in sample.readings if reading != GpuReading(index=0)]
    assert figures == []
    assert missing or sample is not None


def test_evidence_comes_although_a_tool_never_returns_and_ignores_term(
    programs: Programs, tools: Path, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    hang = f"trap '' TERM INT HUP\necho $$ >> {pids}\nsleep 300 & echo $! >> {pids}\nwhile :; do wait; sleep 300; done"
    for name in ("amd-smi", "rocm-smi"):
        write_tool(tools, name, hang)
    pid = programs.start(SLEEP)
    evidence = collect_evidence(
        lambda: [pid], folder=tmp_path, clock=time.monotonic, gap_s=0.1, limit_s=4, root=tmp_path
    )
    whys = {item.what: item.why for item in evidence.not_collected}
    assert "gave no answer within" in whys["amd-smi"]
    assert "was killed" in whys["rocm-smi"]
    assert len(evidence.samples) == 2
    assert evidence.samples[0].processes[0].threads[0].frames
    asked = [int(line) for line in pids.read_text().split()]
    wait_until(lambda: not any(is_alive(pid) for pid in asked))
    assert len(asked) == 6  # it is not asked a second time: 2 calls of one, 1 of the other


def test_a_tool_that_even_a_kill_does_not_end_is_left_behind(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tool(tools, "amd-smi", "exec sleep 300")
    monkeypatch.setattr(os, "killpg", lambda *_: None)  # as a process in state D takes it
    sample, missing = read_gpus(limit_s=0.3, root=tmp_path)
    assert sample is None
    left = [int(item.why.rpartition(" ")[2]) for item in missing]
    assert "outlived SIGKILL: it was left behind as pid" in missing[0].why
    for pid in left:
        assert is_alive(pid)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_sysfs_answers_for_a_tool_that_does_not(tools: Path, tmp_path: Path) -> None:
    write_tool(tools, "amd-smi", "exec sleep 300")
    write_card(tmp_path, 1, busy=100, used=5 * GIB)
    write_card(tmp_path, 10, busy=0, used=GIB)
    write_card(tmp_path, 9, busy=7, used=GIB)
    sample, missing = read_gpus(limit_s=0.5, root=tmp_path)
    assert sample is not None
    assert sample.source == "sysfs"
    assert [reading.utilisation_percent for reading in sample.readings] == [100, 7, 0]
    assert sample.readings[0].vram_used_bytes == 5 * GIB
    assert [item.what for item in missing] == ["amd-smi"]


def test_a_display_without_figures_is_no_gpu(tmp_path: Path) -> None:
    (tmp_path / "sys/class/drm/card0/device").mkdir(parents=True)
    assert not has_gpu(root=tmp_path)
    assert read_sysfs(root=tmp_path) is None


def test_no_tool_and_no_gpu_is_said(tools: Path, tmp_path: Path) -> None:
    sample, missing = read_gpus(limit_s=5, root=tmp_path)
    assert sample is None
    assert [item.what for item in missing] == ["gpu"]
    assert "no GPU is seen" in missing[0].why


def test_the_baseline_starts_no_tool_where_no_gpu_is(tools: Path, tmp_path: Path) -> None:
    write_tool(tools, "amd-smi", f"touch {tmp_path}/asked")
    read_baseline(root=tmp_path)
    assert not (tmp_path / "asked").exists()


def test_the_baseline_asks_where_a_gpu_is_and_sysfs_is_silent(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    write_amd_smi(tools, METRIC_ROWS, [])
    assert read_baseline(root=tmp_path).vram_used_bytes == GIB


def test_whoever_holds_a_device_open_is_a_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triage.hangs import _gpu as gpu

    device = tmp_path / "kfd"
    device.touch()
    monkeypatch.setattr(gpu, "_DEVICES", (str(device),))
    (tmp_path / str(device).lstrip("/")).parent.mkdir(parents=True)
    (tmp_path / str(device).lstrip("/")).touch()
    assert list_holders(root=tmp_path) == ()
    with device.open():
        assert [holder.pid for holder in list_holders(root=tmp_path)] == [os.getpid()]


def test_the_figures_of_rocm_smi_may_be_absent() -> None:
    assert parse_rocm('{"card3": {"GPU use (%)": "N/A"}}') == ((GpuReading(index=3),), ())
