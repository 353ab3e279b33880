"""Where reading stops: no data, nothing outside the folder, nothing that is no file."""

import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from triage.checkpoints import find_checkpoint, read_headers
from triage.checkpoints._scan import Scanner
from triage.errors import CheckpointError

WATCH = """
import os, sys
from pathlib import Path
import triage.checkpoints as checkpoints
from triage.errors import CheckpointError
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
try:
    print(len(checkpoints.read_headers(Path(sys.argv[1])).tensors))
except CheckpointError as error:
    print(error)
opened = [os.path.realpath(path) for path in opened if isinstance(path, (str, bytes, os.PathLike))]
print(*sorted(set(map(str, opened)) - {"/dev/null"}), sep="\\n", file=sys.stderr)
"""


def save(path: Path, *keys: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: np.zeros(2, "f4") for key in keys}, path)
    return path


def write_index(folder: Path, weight_map: object) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    return path


def read_watched(path: Path) -> tuple[str, list[str]]:
    """(what was said, the files that were opened) by a process that does nothing else."""
    ended = subprocess.run([sys.executable, "-c", WATCH, path], capture_output=True, text=True, check=True, timeout=60)
    return ended.stdout, ended.stderr.split()


def test_what_is_opened_is_the_index_and_its_files_and_nothing_else(tmp_path):
    shard = save(tmp_path / "one.safetensors", "a")
    save(tmp_path / "two.safetensors", "b")
    index = write_index(tmp_path, {"a": "one.safetensors"})
    said, opened = read_watched(tmp_path)
    assert said == "1\n"
    assert opened == sorted(map(str, (index, shard)))


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "/etc/passwd",
        "sub/../../secret.safetensors",
        "link/secret.safetensors",
        "l.safetensors",
    ],
)
def test_nothing_outside_the_folder_is_opened(tmp_path, name):
    folder = tmp_path / "checkpoint"
    save(folder / "one.safetensors", "a")
    save(tmp_path / "secret.safetensors", "b")
    save(tmp_path / "elsewhere" / "secret.safetensors", "b")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "l.safetensors").symlink_to(tmp_path / "secret.safetensors")
    index = write_index(folder, {"a": "one.safetensors", "b": name})
    said, opened = read_watched(folder)
    assert "leaves" in said
    assert opened == [str(index)]


def test_an_index_that_is_a_link_out_of_the_folder_is_not_opened(tmp_path):
    folder = tmp_path / "checkpoint"
    save(folder / "one.safetensors", "a")
    (folder / "model.safetensors.index.json").symlink_to("/etc/passwd")
    said, opened = read_watched(folder)
    assert "a link that leaves the checkpoint" in said
    assert opened == []


def test_a_file_in_a_folder_below_belongs_to_the_checkpoint(tmp_path):
    save(tmp_path / "sub" / "one.safetensors", "a")
    write_index(tmp_path, {"a": "sub/one.safetensors"})
    assert dict(read_headers(tmp_path).shards) == {"sub/one.safetensors": 1}


def test_a_part_of_a_cached_repository_may_link_to_its_blobs(tmp_path):
    blob = save(tmp_path / "repo" / "blobs" / "1234", "a")
    part = tmp_path / "repo" / "snapshots" / "abc" / "text_encoder"
    part.mkdir(parents=True)
    (part / "model.safetensors").symlink_to(os.path.relpath(blob, part))
    assert list(read_headers(part).tensors) == ["a"]


@pytest.mark.parametrize(("make", "word"), [("fifo", "a pipe"), ("socket", "a socket"), ("folder", "a folder")])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, monkeypatch, make, word):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    path = tmp_path / "model.safetensors"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("model.safetensors")
    else:
        path.mkdir()
    said, opened = read_watched(tmp_path)
    assert f"model.safetensors: it is {word}, not a file" in said
    assert opened == []


def test_a_device_is_not_opened(tmp_path):
    (tmp_path / "model.safetensors").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="a link that leaves the checkpoint"):
        read_headers(tmp_path)
    with pytest.raises(CheckpointError, match="it is a device, not a file"):
        read_headers(tmp_path / "model.safetensors")


def test_a_link_that_leads_nowhere_or_to_itself_is_refused(tmp_path):
    for target in ("absent", "model.safetensors"):
        link = tmp_path / "model.safetensors"
        link.symlink_to(target)
        with pytest.raises(CheckpointError, match="a link that leads nowhere"):
            read_headers(tmp_path)
        link.unlink()


def test_the_data_are_never_read(tmp_path):
    """The process may not read more of the file than its first part, which holds the header."""
    size = 1 << 40
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, path.stat().st_size + size)
    before = _count_read()
    assert read_headers(path).bytes == size
    assert _count_read() - before < 200_000
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(CheckpointError, match="truncated"):
        read_headers(path)


def _count_read() -> int:
    """Bytes that this process has read by now."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("rchar")))


def test_a_shard_with_a_key_that_the_index_does_not_name_is_refused(tmp_path):
    save(tmp_path / "one.safetensors", "a", "b")
    write_index(tmp_path, {"a": "one.safetensors"})
    with pytest.raises(CheckpointError, match=r"one\.safetensors holds 'b', which the index does not name"):
        read_headers(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"weight_map":{"a":"x","a":"y"}}', b"[" * 100_000])
def test_an_index_that_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"index\.json: the index"):
        read_headers(tmp_path)


@pytest.mark.parametrize(
    "name", ["a\0.safetensors", "", "x" * 300 + ".safetensors", "pytorch_model.bin", "\\ud800.safetensors"]
)
def test_a_name_in_the_index_that_no_file_can_have_is_refused(tmp_path, name):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": name}}).replace("\\\\u", "\\u"))
    with pytest.raises(CheckpointError):
        read_headers(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GGUF\x03\0\0\0\0\0\0\0", "a GGUF file"),
        (b"PK\x03\x04\0\0\0\0\0\0\0", "a pickle in a zip file"),
        (b"\x80\x02}q\0.......", "a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
def test_what_bears_the_wrong_name_is_known_by_its_first_bytes(tmp_path, content, words):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        read_headers(path)


def test_mistrals_own_layout_alone_is_named_and_beside_another_does_not_count(tmp_path):
    save(tmp_path / "consolidated.safetensors", "layers.0.attention.wq.weight")
    (tmp_path / "params.json").write_text("{}")
    with pytest.raises(CheckpointError, match="only Mistral's own layout"):
        read_headers(tmp_path)
    assert len(read_headers(tmp_path / "consolidated.safetensors").tensors) == 1
    save(tmp_path / "model.safetensors", "a")
    headers = read_headers(tmp_path)
    assert (list(headers.tensors), headers.skipped) == (["a"], ("consolidated.safetensors",))


@pytest.mark.parametrize("reference", ["", "\0", "~nobody/x", "x" * 5000, "owner/name@main", "a.safetensors"])
def test_a_reference_that_leads_nowhere_is_one_sentence(reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError):
        find_checkpoint(reference)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"x": '"}', "y": "\\"}])
def test_both_usual_styles_are_read_without_a_parser(separators, metadata):
    entries = {
        key: {"dtype": "F16", "shape": [2, n], "data_offsets": [4 * n * (n - 1) // 2, 4 * n * (n + 1) // 2]}
        for n, key in enumerate(["", "é", "a.0"])
    }
    header = entries if metadata is None else {"__metadata__": metadata, **entries}
    raw = json.dumps(header, separators=separators, ensure_ascii=False).encode() + b"  "
    found: dict = {}
    assert Scanner().scan(raw, found, data_bytes=12)
    assert {key: tensor.shape for key, tensor in found.items()} == {"": (2, 0), "é": (2, 1), "a.0": (2, 2)}
    assert not Scanner().scan(raw, found, data_bytes=12)  # these keys are there already
    assert not Scanner().scan(raw.replace(b"[2,1]", b"[2,-1]").replace(b"[2, 1]", b"[2,-1]"), {}, data_bytes=12)
