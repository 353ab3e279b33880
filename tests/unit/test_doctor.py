"""`triage doctor`: what is wrong with a machine, and what mends it."""

import os
import subprocess
import sys

import pytest

from triage import doctor
from triage.doctor import Check, _hardware, _room, _software, list_able
from triage.engine import environment
from triage.engine.environment import Platform
from triage.result import Family


@pytest.fixture
def rocm(monkeypatch):
    """A machine whose torch was built for HIP."""
    monkeypatch.setattr(_software, "read_platform", lambda: Platform.ROCM)
    monkeypatch.setattr(environment, "read_platform", lambda: Platform.ROCM)


def find(name):
    return next(check for check in doctor.check_machine() if check.name == name)


def test_every_check_that_fails_says_what_mends_it():
    for check in doctor.check_machine():
        assert check.detail
        assert check.ok or check.mend


def test_a_rocm_node_needs_the_python_of_the_wheels(rocm):
    check = find("python")
    assert check.ok is (sys.version_info[:2] == (3, 12))
    assert check.ok or "environment.yml" in check.mend


def test_a_rocm_torch_without_its_device_says_how_to_start_the_container(rocm):
    check = find("device")
    if not os.path.exists("/dev/kfd"):
        assert not check.ok
        assert "--device /dev/kfd" in check.mend


def test_a_version_of_vllm_that_nobody_tried_is_named(monkeypatch):
    monkeypatch.setattr(_software, "read_versions", lambda: {"vllm": "9.9.9"})
    check = find("vllm")
    assert not check.ok
    assert "9.9.9" in check.detail


def test_a_machine_without_vllm_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setattr(_software, "read_versions", lambda: {"vllm": None})
    assert "make setup" in find("vllm").mend


def test_a_full_disk_is_seen(monkeypatch):
    monkeypatch.setattr(_room.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10, "total": 10})())
    check = find("cache")
    assert not check.ok
    assert "TRIAGE_CACHE" in check.mend
    assert "--ipc=host" in find("shared memory").mend
    assert "HF_HOME" in find("hub cache").mend


def test_checking_a_machine_imports_neither_torch_nor_vllm():
    code = (
        "import sys; from triage.doctor import check_machine; check_machine(); "
        "print(sorted({'torch', 'vllm', 'transformers', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def amd_node(tmp_path, monkeypatch):
    """A node with the files of an AMD GPU."""
    monkeypatch.setattr(_hardware, "_KFD", tmp_path / "kfd")
    monkeypatch.setattr(_hardware, "_RENDER", tmp_path / "dri")
    (tmp_path / "dri").mkdir()
    (tmp_path / "kfd").touch()
    return tmp_path


def test_a_gpu_without_a_render_node_says_how_to_start_the_container(amd_node):
    assert "--device /dev/dri" in find("device").mend


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_device_that_may_not_be_opened_names_its_groups(amd_node):
    (amd_node / "dri" / "renderD128").touch()
    (amd_node / "kfd").chmod(0)
    assert "usermod -aG video,render" in find("device").mend


def test_a_gpu_whose_files_are_whole_is_well(amd_node):
    (amd_node / "dri" / "renderD128").touch()
    assert find("device").ok


def test_an_smi_that_hangs_is_said(amd_node, monkeypatch):
    tool = amd_node / "amd-smi"
    tool.write_text(f"#!{sys.executable}\nimport time; time.sleep(600)")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(amd_node))
    monkeypatch.setattr(_hardware, "_SMI_LIMIT_S", 0.3)
    check = find("smi")
    assert not check.ok
    assert "no answer within 0.3 s" in check.detail
    assert "dmesg" in check.mend


def test_an_amd_node_without_an_smi_is_told_how_to_get_it(amd_node, monkeypatch):
    monkeypatch.setattr(_hardware, "find_tools", lambda _: {})
    assert "amd-smi" in find("smi").mend


def test_refused_ptrace_takes_no_case_away_but_says_what_gives_it(monkeypatch):
    monkeypatch.setattr(_hardware, "why_no_ptrace", lambda: "ptrace is refused (Operation not permitted)")
    check = find("ptrace")
    assert check.ok
    assert "--cap-add=SYS_PTRACE" in check.mend


@pytest.mark.parametrize(("torch", "vision", "ok"), [("2.9.1", "0.24.0", True), ("2.9.1", "0.23.0", False)])
def test_torchvision_must_match_torch(monkeypatch, torch, vision, ok):
    monkeypatch.setattr(_software, "read_torch_build", lambda: {"__version__": torch, "hip": None, "cuda": None})
    monkeypatch.setattr(_software.metadata, "version", lambda _: vision)
    monkeypatch.setattr(_software, "needs_torchvision_shim", lambda: False)
    check = _software.check_torchvision()
    assert check.ok is ok
    assert ok or "torchvision==0.24.*" in check.mend


def test_names_of_vllm_that_have_moved_are_said(monkeypatch):
    monkeypatch.setattr(_software, "find_missing_names", lambda: ["MultiModalBudget"])
    check = _software.check_adapters()
    assert not check.ok
    assert "MultiModalBudget" in check.detail


def test_the_names_that_triage_looks_up_are_in_the_installed_vllm():
    assert _software.check_adapters().ok


def test_a_failed_check_stands_in_the_way_of_the_cases_that_need_it():
    failed = [Check(name="torchvision", ok=False, detail="no"), Check(name="smi", ok=False, detail="no")]
    able = list_able(failed, {"warm-up": Family.GPU_HANG, "tokens": Family.TOKEN_COUNT})
    assert able == {"warm-up": ("torchvision",), "tokens": ()}
