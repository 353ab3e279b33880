"""`triage doctor`: what is wrong with a machine, and what mends it."""

import os
import subprocess
import sys

import pytest

from triage import doctor
from triage.engine import environment
from triage.engine.environment import Platform


@pytest.fixture
def rocm(monkeypatch):
    """A machine whose torch was built for HIP."""
    monkeypatch.setattr(doctor, "read_platform", lambda: Platform.ROCM)
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
    monkeypatch.setattr(doctor, "read_versions", lambda: {"vllm": "9.9.9"})
    check = find("vllm")
    assert not check.ok
    assert "9.9.9" in check.detail


def test_a_machine_without_vllm_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setattr(doctor, "read_versions", lambda: {"vllm": None})
    assert "make setup" in find("vllm").mend


def test_a_full_disk_is_seen(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    check = find("cache")
    assert not check.ok
    assert "TRIAGE_CACHE" in check.mend


def test_checking_a_machine_imports_neither_torch_nor_vllm():
    code = (
        "import sys; from triage.doctor import check_machine; check_machine(); "
        "print(sorted({'torch', 'vllm', 'transformers', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
