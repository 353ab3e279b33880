"""What an engine process is given: matching packages, and variables that the user may override."""

import os
import subprocess
import sys

import pytest

from triage.engine import environment
from triage.engine.environment import Platform, engine_environment, needs_torchvision_shim, prepare_import
from triage.errors import MissingDependencyError


@pytest.fixture
def torchvision(tmp_path, monkeypatch):
    """Plays a torchvision of this version beside a torch for this platform."""

    def play(version: str, platform: Platform) -> bool:
        package = tmp_path / "torchvision"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        (package / "version.py").write_text(f"__version__ = {version!r}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "torchvision", raising=False)  # another test of this process may have it
        monkeypatch.setattr(environment, "read_platform", lambda: platform)
        needs_torchvision_shim.cache_clear()
        return needs_torchvision_shim()

    yield play
    needs_torchvision_shim.cache_clear()


@pytest.mark.parametrize(
    ("version", "platform", "needed"),
    [
        ("0.28.0+cu130", Platform.CPU, True),
        ("0.28.0+cpu", Platform.CPU, False),
        ("0.28.0+cu130", Platform.CUDA, False),
        ("0.24.0+rocm7.2", Platform.ROCM, False),
        ("0.28.0+cu130", Platform.ROCM, True),
    ],
)
def test_only_a_cuda_torchvision_beside_another_torch_needs_help(torchvision, version, platform, needed):
    assert torchvision(version, platform) is needed


def test_a_variable_of_the_user_is_left_alone(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    assert engine_environment()["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert engine_environment({"VLLM_CPU_KVCACHE_SPACE": "9"})["VLLM_CPU_KVCACHE_SPACE"] == "9"


def test_the_path_of_the_user_comes_behind_the_shim(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert engine_environment()["PYTHONPATH"].split(os.pathsep)[-1] == "/somewhere"


def test_a_python_without_vllm_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="vLLM is not installed") as caught:
        prepare_import()
    assert "make setup" in caught.value.hint


@pytest.mark.engine
def test_torchvision_and_transformers_import_in_an_engine_process_and_in_one_that_asks_for_it():
    code = "from triage.engine.environment import prepare_import; prepare_import(); import torchvision, transformers"
    for env in (dict(os.environ), engine_environment()):
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
