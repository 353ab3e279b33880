"""The catalogue of cases, triage's own and private ones."""

from pathlib import Path

import pytest

from triage.cases import CATALOGUE_VARIABLE, read_case, read_cases
from triage.errors import InputError

OWN = Path(read_case("e5-token-count").notebook_path).parents[1] / "triage" / "cases" / "e5-token-count.toml"


def test_all_broken_files_of_a_catalogue_come_in_one_message(tmp_path):
    (tmp_path / "cut.toml").write_text('id = "x')
    (tmp_path / "latin.toml").write_bytes('title = "é"'.encode("latin-1"))
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "other.toml").write_text('name = "x"')
    with pytest.raises(InputError) as caught:
        read_cases(tmp_path)
    message = str(caught.value)
    for name in ("cut.toml is not TOML", "latin.toml is not UTF-8", "folder.toml cannot be read", "other.toml is not"):
        assert name in message


def test_an_id_that_comes_twice_is_named(tmp_path):
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(OWN.read_text())
    with pytest.raises(InputError, match="two files hold the id e5-token-count"):
        read_cases(tmp_path)


def test_a_private_case_is_found_beside_the_own_ones_and_wins_over_one_of_the_same_id(tmp_path, monkeypatch):
    text = OWN.read_text()
    (tmp_path / "mine.toml").write_text(text.replace('"e5-token-count"', '"mine"'))
    (tmp_path / "same.toml").write_text(text.replace('title = "', 'title = "Private: '))
    monkeypatch.setenv(CATALOGUE_VARIABLE, str(tmp_path))
    assert read_case("mine").upstream_facts
    assert read_case("e5-token-count").title.startswith("Private: ")
    assert read_case("gemma3-legacy-keys").id == "gemma3-legacy-keys"
