"""Files are whole at every moment."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from triage.errors import InputError, StorageError
from triage.files import make_folder, write_atomic

KILLED = """
import os, signal, sys
from pathlib import Path
from triage.files import write_atomic
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_atomic(Path(sys.argv[1]), "new" * 10_000)
"""


@pytest.fixture(params=["unnamed", "named"], autouse=True)
def _every_file_system(request, monkeypatch):
    """A file system that has files without a name, and one that has not."""
    real = os.open

    def refuse(path, flags, *arguments, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *arguments, **options)

    if request.param == "named":
        monkeypatch.setattr(os, "open", refuse)


def test_a_writer_that_is_killed_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_atomic(path, "old")
    ended = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_cannot_be_taken_leaves_no_temporary_file(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        write_atomic(tmp_path / "result.json", "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_atomic(path, "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"result\.json cannot be written \(No space left on device\)"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_can_be_read_by_colleagues(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "report.html", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o640


def test_a_folder_below_a_file_is_an_input_error_that_names_the_file(tmp_path):
    file = tmp_path / "reports"
    file.write_text("")
    with pytest.raises(InputError, match=f"{file} is a file"):
        make_folder(file / "case")


def test_a_folder_that_cannot_be_made_is_a_storage_error():
    with pytest.raises(StorageError, match="cannot be made"):
        make_folder(__import__("pathlib").Path("/proc/reports"))
