"""Reading: every packing, every damage, in blocks and with true line numbers."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.errors import LogError
from triage.logs import list_logs, read_log
from triage.logs._matcher import make_matcher
from triage.logs._scan import Scanner, count_newlines
from triage.logs._source import read_blocks
from triage.logs._structure import STRUCTURE

ROOT = b"Memory access fault by GPU node-7 (Agent handle: 0x1) on address 0x2. Reason: Unknown.\n"


def zstd(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return module.compress(data)


def scan(*blocks: bytes):
    return Scanner(make_matcher(STRUCTURE), len(STRUCTURE)).run(blocks)


def write(tmp_path, data: bytes, name: str = "job.log") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_a_log_may_be_packed_whatever_its_name(tmp_path, pack):
    report = read_log(write(tmp_path, pack(b"fine\n" * 99 + ROOT), "job"))
    assert [f.root.n for f in report.failures] == [100]
    assert (report.lines, report.bytes) == (100, 5 * 99 + len(ROOT))


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_a_packed_log_that_is_cut_off_says_what_there_is(tmp_path, pack):
    noise = b"".join(b"%d fine\n" % (n * 7919 % 100_003) for n in range(200_000))
    packed = pack(ROOT + noise)
    report = read_log(write(tmp_path, packed[: len(packed) // 2]))
    assert len(report.failures) == 1
    assert 0 < report.bytes < len(ROOT + noise)


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_a_packed_log_that_is_damaged_is_read_up_to_there_and_says_so(tmp_path, pack):
    packed = pack(ROOT + b"".join(b"%d fine\n" % (n * 7919 % 100_003) for n in range(200_000)))
    assert read_log(write(tmp_path, packed)).notes == ()
    assert "cut off or damaged" in read_log(write(tmp_path, packed[:9000])).notes[0]


@pytest.mark.parametrize(("start", "what"), [(b"PK\x03\x04", "zip"), (b"\xfd7zXZ\x00", "xz"), (b"BZh9", "bzip2")])
def test_an_archive_is_refused_and_not_read_as_noise(tmp_path, start, what):
    with pytest.raises(LogError, match=f"is an? {what} .*, not a log"):
        read_log(write(tmp_path, start + b"\0" * 100))


def test_standard_input_is_a_log_too(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "triage.cli", "log", "-", "--json"],
        input=gzip.compress(ROOT),
        capture_output=True,
        check=True,
    )
    assert b'"family": "gpu_fault"' in ended.stdout


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_numbers_of_lines_do_not_depend_on_the_blocks(data):
    lines = data.draw(
        st.lists(st.sampled_from([ROOT, b"\n", b"x" * 50 + b"\n", b"\xff\x00\r\n", b"E   a\n"]), max_size=40)
    )
    whole = b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    blocks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]
    found = scan(*blocks)
    assert [m.n for m in found.marks if m.rules] == [n for n, line in enumerate(lines, 1) if line == ROOT]
    assert found.lines == len(lines)


@given(st.binary(max_size=20_000))
def test_newlines_are_counted_as_bytes_count_does(data):
    assert count_newlines(data) == data.count(b"\n")


def test_a_line_longer_than_many_blocks_is_one_line():
    blocks = [
        b"first\n",
        *[b"x" * 100_000] * 30,
        b"x HIP error: invalid argument ",
        *[b"y" * 100_000] * 30,
        b"\n",
        ROOT,
    ]
    found = scan(*blocks)
    assert [(m.n, len(m.text) < 10_000) for m in found.marks] == [(2, True), (3, True)]
    assert found.lines == 3
    assert "HIP error: invalid argument" in found.marks[0].text


def test_a_pattern_across_two_blocks_of_a_long_line_is_found():
    found = scan(b"a" * 100_000, b"b" * 50_000 + b"HIP err", b"or: invalid argument" + b"c" * 100_000, b"\n")
    assert [m.n for m in found.marks] == [1]


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\x00 " + ROOT,
        b"\xff\xfe\x80 " + ROOT,
        ROOT.replace(b"\n", b"\r\n"),
        b"\x1b[31m" + ROOT,
        b"50%\r99%\r" + ROOT,
    ],
)
def test_damage_in_a_line_hides_nothing_and_is_shown_as_text(tmp_path, line):
    (failure,) = read_log(write(tmp_path, b"ok\n" + line)).failures
    assert failure.root.n == 2
    assert not any(ord(char) < 32 or char in "\x7f\u202e" for char in failure.root.text)


def test_a_log_that_matches_on_every_line_is_bounded(tmp_path):
    report = read_log(write(tmp_path, ROOT * 120_000))
    assert len(report.failures) == 1
    assert report.lines == 120_000
    assert "were not looked at" in report.notes[0]


def test_memory_stays_small_whatever_the_size_of_the_log(tmp_path):
    """A bomb: 400 MB of zeros and lines in a few kilobytes."""
    path = tmp_path / "bomb.gz"
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(b"\0" * 1_000_000 + b"\n" * 1_000_000)
        file.write(b"\0" * 200_000_000)
    code = (
        "import re, sys; from triage.logs import read_log; report = read_log(sys.argv[1]);"
        "print(report.bytes, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    size, peak_kib = map(int, ended.stdout.split())
    assert size == 400_000_000
    assert peak_kib < 200 * 1024


def test_a_folder_is_every_log_below_it(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/x.log", "y.txt", "z.log.gz", "picture.png"):
        (tmp_path / name).write_bytes(b"")
    assert [Path(p).name for p in list_logs([str(tmp_path)])] == ["x.log", "y.txt", "z.log.gz"]
    assert list_logs(["-", str(tmp_path / "picture.png")])[0] == "-"


def test_all_that_is_missing_is_named_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LogError) as error:
        list_logs([str(tmp_path / "no"), str(tmp_path / "empty")])
    assert "no does not exist" in str(error.value)
    assert "is a folder without a log" in str(error.value)


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(LogError, match="cannot be read"):
        list(read_blocks(str(tmp_path / "gone")))


def test_a_block_is_never_larger_than_asked_for(tmp_path):
    path = write(tmp_path, gzip.compress(b"\0" * 5_000_000))
    assert max(map(len, read_blocks(path, block_bytes=100_000))) <= 100_000
