"""Reads and checks the catalogue."""

from __future__ import annotations

import os
import tomllib
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from triage.errors import InputError, UnknownCaseError
from triage.result import Family

_FOLDER = Path(__file__).parent
CATALOGUE_VARIABLE = "TRIAGE_CATALOGUE"


class Case(BaseModel):
    """One known failure: where it happened upstream, and how its notebook reproduces it.

    ``parameters`` override the defaults of the notebook's parameters cell. ``upstream_facts`` holds what
    upstream has asserted over time, for the report to set beside what it measures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    family: Family
    title: str = Field(min_length=1)
    upstream: str = Field(pattern=r"^https://github\.com/")
    test: str = Field(min_length=1)
    group: str = ""
    notebook: str = Field(pattern=r"^[a-z0-9_]+\.ipynb$")
    symptom: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    upstream_facts: dict[str, Any] = Field(default_factory=dict)

    @property
    def notebook_path(self) -> Path:
        """Where the notebook lies: in a checkout, or inside an installed wheel."""
        return find_notebook(self.notebook)


def find_notebook(name: str) -> Path:
    """The path of a reproduction notebook. Raises `InputError` if this installation has none of that name.

    >>> find_notebook("token_counts.ipynb").name
    'token_counts.ipynb'
    """
    package = Path(__file__).parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"No notebook {name} in this installation.", hint="Install triage again: pip install -e .")


def _read(path: Path) -> Case:
    """One case file. Raises `ValueError` that says what is wrong with it."""
    try:
        return Case.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name} is not TOML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ValueError(f"{path.name} is not a case: {problems}") from None


@cache
def read_cases(folder: Path = _FOLDER) -> tuple[Case, ...]:
    """All cases, by id. Raises one `InputError` that names every file that is no case, and every id that comes twice.

    >>> read_cases(Path("no such folder"))
    ()
    """
    cases, problems = [], []
    for path in sorted(folder.glob("*.toml")):
        try:
            cases.append(_read(path))
        except ValueError as error:
            problems.append(str(error))
    ids = [case.id for case in cases]
    problems += [f"two files hold the id {i}" for i in sorted({i for i in ids if ids.count(i) > 1})]
    if problems:
        raise InputError(f"The catalogue cannot be read: {'; '.join(problems)}.", hint="Compare with triage/cases/.")
    return tuple(sorted(cases, key=lambda case: case.id))


def read_case(case_id: str) -> Case:
    """The case of this id, from the private catalogue that ``TRIAGE_CATALOGUE`` names, if any, or from triage's own.

    ``triage run --catalogue`` sets the variable for its notebooks.

    >>> read_case("e5-token-count").family.value
    'token_count'
    >>> read_case("e5-count")
    Traceback (most recent call last):
    ...
    triage.errors.UnknownCaseError: No case is called 'e5-count'. Did you mean e5-token-count? `triage cases` lists all.
    """
    private = os.environ.get(CATALOGUE_VARIABLE)
    cases = {case.id: case for case in (*read_cases(), *(read_cases(Path(private)) if private else ()))}
    if case_id in cases:
        return cases[case_id]
    near = get_close_matches(case_id, cases, n=1)
    guess = f"Did you mean {near[0]}? " if near else ""
    raise UnknownCaseError(f"No case is called {case_id!r}.", hint=f"{guess}`triage cases` lists all.")
