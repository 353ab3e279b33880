"""Headers of safetensors files: what the library writes we read, and what it refuses we refuse."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from triage.checkpoints import read_checkpoint
from triage.cli._app import run_app
from triage.errors import CheckpointError

DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
WEIGHT = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write_raw(path: Path, header: bytes, data: bytes = b"", *, length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def write_json(path: Path, header: object, data: bytes = b"") -> Path:
    return write_raw(path, json.dumps(header).encode(), data)


def accepts(path: Path) -> bool:
    """Whether safetensors itself opens the file."""
    try:
        with safe_open(path, framework="numpy") as file:
            file.keys()
    except (SafetensorError, OSError, OverflowError):
        return False
    return True


tensors = st.dictionaries(
    st.text(min_size=1).filter(lambda key: key != "__metadata__" and key.encode(errors="ignore").decode() == key),
    st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 4), max_size=4)),
    max_size=8,
)


@given(tensors=tensors, metadata=st.none() | st.dictionaries(st.text("abc"), st.text("abc"), max_size=2))
@settings(max_examples=150, deadline=None)
def test_what_safetensors_writes_is_read_back(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_file({key: np.zeros(shape, DTYPES[dtype]) for key, (dtype, shape) in tensors.items()}, path, metadata)
    assume(accepts(path))  # safetensors 0.8 writes no JSON for no tensors with metadata, and refuses it itself
    frame = read_checkpoint(path)
    read = {row.key: (row.dtype, list(row.shape)) for row in frame.itertuples()}
    assert read == tensors
    assert frame["bytes"].sum() == sum(np.zeros(shape, DTYPES[dtype]).nbytes for dtype, shape in tensors.values())


@given(cut=st.integers(0, 200), flip=st.integers(0, 199), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_is_refused_wherever_safetensors_refuses_it(tmp_path_factory, cut, flip, value):
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_file({"a": np.zeros((2, 3), "f4"), "b": np.zeros(5, "i1")}, path)
    content = bytearray(path.read_bytes())
    content[flip % len(content)] = value
    path.write_bytes(bytes(content[: len(content) - cut % len(content)]) if cut < 40 else bytes(content))
    if accepts(path):
        return  # triage may be stricter: duplicate keys
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in caught.value.message


HOSTILE = {
    "an empty file": (lambda p: p.write_bytes(b""), "0 bytes, too few"),
    "a length of 2**63": (lambda p: write_raw(p, b"{}", length=2**63), "claims 9223372036854775808 bytes"),
    "a length past the end": (lambda p: write_raw(p, b"{}", length=99), "the file ends 2 bytes in"),
    "a header that is no JSON": (lambda p: write_raw(p, b"{'a'}"), "not JSON at character 1"),
    "a header that is no object": (lambda p: write_json(p, [1]), "does not begin with '{'"),
    "a header that is not UTF-8": (lambda p: write_raw(p, b'{"\xff"}'), "not UTF-8 at byte 2"),
    "a header nested too deep": (lambda p: write_raw(p, b'{"a":' * 100_000), "not JSON"),
    "a number of too many digits": (lambda p: write_raw(p, b'{"a":' + b"9" * 5000 + b"}"), "not JSON that"),
    "an entry that is no object": (lambda p: write_json(p, {"a": 1}), "'a' does not hold dtype"),
    "an unknown dtype": (lambda p: write_json(p, {"a": WEIGHT | {"dtype": "F33"}}, b"8" * 8), "unknown dtype 'F33'"),
    "a negative shape": (lambda p: write_json(p, {"a": WEIGHT | {"shape": [-2]}}, b"8" * 8), "shape [-2]"),
    "a shape of booleans": (lambda p: write_json(p, {"a": WEIGHT | {"shape": [True]}}, b"8" * 8), "shape [True]"),
    "a shape that overflows": (
        lambda p: write_json(p, {"a": WEIGHT | {"shape": [2**40] * 9}}, b"8" * 8),
        "more values than a file can hold",
    ),
    "offsets that run backwards": (
        lambda p: write_json(p, {"a": WEIGHT | {"data_offsets": [8, 0]}}, b"8" * 8),
        "takes -8 bytes at 8",
    ),
    "offsets that do not fit the shape": (
        lambda p: write_json(p, {"a": WEIGHT | {"shape": [3]}}, b"8" * 8),
        "takes 8 bytes at 0, but F32 [3] takes 12",
    ),
    "offsets that overlap": (
        lambda p: write_json(p, {"a": WEIGHT, "b": WEIGHT | {"data_offsets": [4, 12]}}, b"8" * 12),
        "'b' at 4 overlaps 'a'",
    ),
    "offsets that leave a hole": (
        lambda p: write_json(p, {"a": WEIGHT, "b": WEIGHT | {"data_offsets": [12, 20]}}, b"8" * 20),
        "'b' at 12 leaves a hole after 'a', which ends at 8",
    ),
    "data that is truncated": (lambda p: write_json(p, {"a": WEIGHT}, b"8" * 7), "truncated"),
    "data that belongs to nothing": (lambda p: write_json(p, {"a": WEIGHT}, b"8" * 9), "1 bytes after 'a'"),
    "a key that is there twice": (
        lambda p: write_raw(p, b'{"a":%b,"a":%b}' % ((json.dumps(WEIGHT).encode(),) * 2), b"8" * 8),
        "holds 'a' twice",
    ),
    "metadata that is no text": (lambda p: write_json(p, {"__metadata__": {"a": 1}}), "__metadata__"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_by_name_and_place(tmp_path, name):
    make, words = HOSTILE[name]
    path = tmp_path / "model.safetensors"
    make(path)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert words in caught.value.message
    assert len(str(caught.value)) < 400
    assert not accepts(path) or name == "a key that is there twice"  # the library keeps the last of the two


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_sentence_on_the_command_line_and_exit_2(tmp_path, capsys, name):
    path = tmp_path / "model.safetensors"
    HOSTILE[name][0](path)
    assert run_app(["keys", str(path), "--json"]) == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith(f"triage: {path}: ")
    assert said.count("\n") == 1


def write_shards(folder: Path, **shards: dict) -> None:
    for name, content in shards.items():
        save_file({key: np.zeros(1, "f4") for key in content}, folder / f"{name}.safetensors")


def write_index(folder: Path, weight_map: object) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    return path


def test_a_folder_of_shards_is_read_whole_without_an_index(tmp_path):
    write_shards(tmp_path, one=["a"], two=["b", "c"])
    assert read_checkpoint(tmp_path)["shard"].tolist() == ["one.safetensors", "two.safetensors", "two.safetensors"]


@pytest.mark.parametrize(("numbers", "missing"), [((1, 3), 2), ((1, 2), 3), ((0, 2), 1), ((0, 1, 2), None)])
def test_a_missing_shard_is_told_by_the_names_of_the_others(tmp_path, numbers, missing):
    write_shards(tmp_path, **{f"model-{n:05}-of-00003": [f"key{n}"] for n in numbers})
    if missing is None:
        assert len(read_checkpoint(tmp_path)) == 3
        return
    with pytest.raises(CheckpointError, match=f"model-{missing:05}-of-00003.safetensors: the file is missing"):
        read_checkpoint(tmp_path)


def test_an_index_decides_which_files_count(tmp_path):
    write_shards(tmp_path, one=["a"], consolidated=["a", "b"])
    index = write_index(tmp_path, {"a": "one.safetensors"})
    assert read_checkpoint(tmp_path)["key"].tolist() == ["a"]
    assert read_checkpoint(index).equals(read_checkpoint(tmp_path))


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a": "/etc/passwd"}, "names '/etc/passwd', which leaves its folder"),
        ({"a": "../one.safetensors"}, "which leaves its folder"),
        ({"a": "three.safetensors"}, "three.safetensors: the file is missing"),
        ({"z": "one.safetensors"}, "places 'z' in one.safetensors, which does not hold it"),
        ({"a": 1}, "not an object of file names"),
        ({}, "empty"),
        ([], "not an object of file names"),
    ],
)
def test_an_index_that_misleads_is_refused(tmp_path, weight_map, words):
    write_shards(tmp_path, one=["a"])
    write_index(tmp_path, weight_map)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    write_shards(tmp_path, one=["a"], two=["a"])
    with pytest.raises(CheckpointError, match=r"'a' is in one\.safetensors too"):
        read_checkpoint(tmp_path)


def test_a_link_out_of_the_folder_is_refused_and_the_hub_caches_own_links_are_not(tmp_path):
    blobs, snapshot = tmp_path / "repo" / "blobs", tmp_path / "repo" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save_file({"a": np.zeros(1, "f4")}, blobs / "1234")
    (snapshot / "model.safetensors").symlink_to(os.path.relpath(blobs / "1234", snapshot))
    assert read_checkpoint(snapshot)["key"].tolist() == ["a"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.safetensors").symlink_to(blobs / "1234")
    with pytest.raises(CheckpointError, match="a link that leaves the checkpoint"):
        read_checkpoint(elsewhere)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.gguf"])
def test_other_formats_are_named_and_never_opened(tmp_path, name):
    (tmp_path / name).write_bytes(b"cos\nsystem\n")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(CheckpointError, match="GGUF" if name.endswith("gguf") else "pickle") as caught:
            read_checkpoint(path)
        assert "safetensors" in caught.value.hint


def test_a_path_that_leads_nowhere_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        read_checkpoint(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="holds no safetensors file"):
        read_checkpoint(tmp_path)


def test_a_file_of_many_gigabytes_is_read_by_its_header_alone(tmp_path):
    path = write_json(
        tmp_path / "big.safetensors", {"a": {"dtype": "U8", "shape": [50 << 30], "data_offsets": [0, 50 << 30]}}
    )
    header_bytes = path.stat().st_size
    os.truncate(path, header_bytes + (50 << 30))  # sparse: no data on the disk
    assert read_checkpoint(path)["bytes"].tolist() == [50 << 30]
