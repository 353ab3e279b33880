"""Files are whole at every moment."""

import os

import pytest

from triage.errors import InputError, StorageError
from triage.files import make_folder, write_atomic


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
