"""Two captures side by side: added, removed and changed, the telling ones first, hostile names harmless."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from triage.settings import EnvironmentCapture, compare_captures, render_for_issue
from triage.settings._record import Gpu, GpuSection, HubModel, MappedLibrary, Missing, VllmVariable

GOOD = EnvironmentCapture(
    captured="2026-11-24T10:00:00+00:00",
    versions={"vllm": "0.24.0", "torch": "2.9.0+rocm7.0", "cuda": None},
    variables={"HSA_ENABLE_SDMA": "", "SHELL": "/bin/bash", "OMP_NUM_THREADS": "8"},
    vllm_variables={"VLLM_ROCM_USE_AITER": VllmVariable(default=False, value=False)},
    arguments=("--max-num-seqs", "1"),
    packages={"transformers": "5.16.1", "left-pad": "1.0"},
    libraries={"libhipblaslt.so": MappedLibrary(version="1.0", build_id="aa", path="/opt/rocm/lib/libhipblaslt.so.1")},
    gpu=GpuSection(driver="amdgpu 6.14", gpus=(Gpu(name="MI300X", arch="gfx942", vram_bytes=1),)),
    hub={"a/b": HubModel(refs={"main": "111"}, revisions=("111",))},
)
BAD = GOOD.model_copy(
    update={
        "variables": {"SHELL": "/bin/zsh", "OMP_NUM_THREADS": "8", "VLLM_ROCM_USE_AITER": "1"},
        "arguments": (),
        "packages": {"transformers": "5.19.0", "left-pad": "2.0"},
        "libraries": {"libhipblaslt.so": MappedLibrary(version="1.0", build_id="bb", path="/opt/rocm/lib/x")},
        "gpu": GOOD.gpu.model_copy(update={"driver": "amdgpu 6.16"}),
        "hub": {"a/b": HubModel(refs={"main": "222"}, revisions=("222",))},
    }
)


def test_added_removed_and_changed_are_told_apart_by_section_and_name():
    answer = compare_captures(GOOD, BAD).to_json()
    assert answer["added"] == {"variables": {"VLLM_ROCM_USE_AITER": "1"}}
    assert answer["removed"] == {"arguments": {"--max-num-seqs": "1"}, "variables": {"HSA_ENABLE_SDMA": ""}}
    assert answer["changed"]["packages"]["transformers"] == ["5.16.1", "5.19.0"]  # type: ignore[index,call-overload]
    assert answer["changed"]["gpu"] == {"driver": ["amdgpu 6.14", "amdgpu 6.16"]}  # type: ignore[index,call-overload]


def test_a_library_of_the_same_version_and_another_build_is_a_difference():
    [library] = [d for d in compare_captures(GOOD, BAD).differences if d.section == "libraries"]
    assert library.name == "libhipblaslt.so"


def test_what_is_known_to_matter_stands_first_and_a_shell_last():
    names = [d.name for d in compare_captures(GOOD, BAD).differences]
    assert set(names[:3]) == {"--max-num-seqs", "VLLM_ROCM_USE_AITER", "driver"}
    assert names[-1] == "SHELL"
    assert names.index("transformers") < names.index("left-pad")


def test_a_variable_that_is_empty_is_not_one_that_is_unset():
    unset = GOOD.model_copy(update={"variables": {"SHELL": "/bin/bash", "OMP_NUM_THREADS": "8"}})
    assert [d.name for d in compare_captures(GOOD, unset).differences] == ["HSA_ENABLE_SDMA"]


def test_a_capture_does_not_differ_from_itself():
    assert compare_captures(GOOD, GOOD).differences == ()
    assert "do not differ" in render_for_issue(compare_captures(GOOD, GOOD))


def test_what_one_side_could_not_collect_is_said_and_is_no_difference():
    blind = GOOD.model_copy(
        update={"libraries": {}, "not_collected": (Missing(what="libraries", why="torch is not installed."),)}
    )
    diff = compare_captures(GOOD, blind)
    assert diff.differences == ()
    assert diff.not_compared == ("libraries: not collected on the second side (torch is not installed.)",)


HOSTILE = ["<script>alert(1)</script>", "a\x1b[31mred", "nul\x00", "bar|`tick`\nline", "\u202eevil"]


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_names_and_values_do_nothing(word: str, tmp_path: Path):
    hostile = GOOD.model_copy(update={"variables": {**GOOD.variables, word: word}})
    diff = compare_captures(GOOD, hostile)
    text = render_for_issue(diff)
    [row] = [line for line in text.splitlines() if "variables" in line]
    assert not set(text) & {"\x1b", "\x00", "\u202e"}
    assert row.count("|") - row.count("\\|") == 6
    import mistune

    assert BeautifulSoup(mistune.html(text), "html.parser").find("script") is None
    for name, capture in {"a": GOOD, "b": hostile}.items():
        (tmp_path / name).write_text(capture.to_json())
    command = [sys.executable, "-m", "triage.cli", "env", "diff", str(tmp_path / "a"), str(tmp_path / "b"), "--all"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not set(done.stdout) & {"\x1b", "\x00", "\u202e"}


def run_env(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "triage.cli", "env", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_the_command_captures_and_compares(tmp_path: Path, monkeypatch):
    assert run_env("--out", tmp_path / "a.json").returncode == 0
    monkeypatch.setenv("HSA_ENABLE_SDMA", "0")
    printed = run_env("--json", "--out", tmp_path / "b.json", "--arguments", "--max-num-seqs 1")
    assert json.loads(printed.stdout) == json.loads((tmp_path / "b.json").read_text())
    answer = json.loads(run_env("diff", tmp_path / "a.json", tmp_path / "b.json", "--json").stdout)
    assert answer["added"] == {"arguments": {"--max-num-seqs": "1"}, "variables": {"HSA_ENABLE_SDMA": "0"}}
    assert (
        "| variables | `HSA_ENABLE_SDMA`" in run_env("diff", tmp_path / "a.json", tmp_path / "b.json", "--issue").stdout
    )


@pytest.mark.parametrize("content", ["", '{"schema_version": 9}', '{"schema_version": 1, "variab'])
def test_a_bad_capture_ends_with_one_sentence_and_2(tmp_path: Path, content: str):
    (tmp_path / "bad.json").write_text(content)
    (tmp_path / "good.json").write_text(GOOD.to_json())
    done = run_env("diff", tmp_path / "good.json", tmp_path / "bad.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "bad.json" in done.stderr
