"""A new case: the file that a known failure starts with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from triage.cases._catalogue import Case, read_cases
from triage.errors import InputError
from triage.files import make_folder, write_atomic
from triage.result import Family

if TYPE_CHECKING:
    from tomlkit.items import Item


class ParameterLike(Protocol):
    """What is asked of a notebook's parameter: `triage.report.Parameter` has it."""

    @property
    def name(self) -> str: ...
    @property
    def default(self) -> Any: ...
    @property
    def help(self) -> str: ...


_GIVEN = {"case", "case_id"}  # told to each notebook; no case sets them


def choose_notebook(family: Family) -> str:
    """The notebook that investigates a family: that of its first case in triage's own catalogue.

    Raises `InputError` where no notebook does.

    >>> choose_notebook(Family.CHECKPOINT_KEYS)
    'checkpoint_keys.ipynb'
    """
    notebooks = {case.family: case.notebook for case in reversed(read_cases())}
    if family not in notebooks:
        known = ", ".join(sorted(notebooks))
        raise InputError(
            f"No notebook investigates {family} yet; there is one for {known}.",
            hint="Name the one to use: --notebook NAME.ipynb.",
        )
    return notebooks[family]


def draft_case(case_id: str, *, family: Family, upstream: str, test: str, **rest: Any) -> Case:
    """A case that is checked before it is written; ``rest`` are further fields of `Case`.

    Without a ``title`` the symptom or the test serves, without a ``notebook`` the family's. Raises one `InputError`
    with every problem.

    >>> case = draft_case("mine", family=Family.TOKEN_COUNT, upstream="https://github.com/a/b/pull/1", test="t.py")
    >>> case.title, case.notebook
    ('token count in t.py', 'token_counts.ipynb')
    """
    given = {name: value for name, value in rest.items() if value}
    notebook = given.pop("notebook", None) or choose_notebook(family)
    title = given.pop("title", None) or given.get("symptom") or f"{family.replace('_', ' ')} in {test}"
    fields = {"id": case_id, "family": family, "title": title, "upstream": upstream, "test": test}
    try:
        return Case.model_validate(fields | {"notebook": notebook} | given)
    except ValidationError as error:
        problems = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors(include_url=False))
        raise InputError(
            f"This is no case: {problems}.",
            hint="An id is lower-case letters, digits and dashes; upstream is a page on https://github.com/.",
        ) from None


def render_case(case: Case, *, known: Sequence[ParameterLike] = ()) -> str:
    """The text of a case file. ``known`` are the notebook's parameters: those that the case leaves alone stand there
    as comments, with their defaults and meanings, ready to be changed.

    >>> case = draft_case("mine", family=Family.TOKEN_COUNT, upstream="https://github.com/a/b/pull/1", test="t.py")
    >>> render_case(case).splitlines()[:2]
    ['id = "mine"', 'family = "token_count"']
    """
    import tomlkit

    document = tomlkit.document()
    for name in ("id", "family", "title", "upstream", "group", "test", "notebook", "symptom"):
        if value := getattr(case, name):
            document.add(name, tomlkit.item(str(value)))
    table = tomlkit.table()
    for parameter in known:
        if parameter.name in _GIVEN:
            continue
        if parameter.name in case.parameters:
            table.add(parameter.name, _write_value(case.parameters[parameter.name]))
            table[parameter.name].comment(parameter.help)
        elif parameter.default is not None:
            line = f"{parameter.name} = {_write_value(parameter.default).as_string()}"
            table.add(tomlkit.comment(f"{line}  # {parameter.help}".rstrip(" #")))
    for name in case.parameters.keys() - {parameter.name for parameter in known}:
        table.add(name, _write_value(case.parameters[name]))
    if table.as_string():
        document.add("parameters", table)
    return tomlkit.dumps(document)


def _write_value(value: Any) -> Item:
    """A value on one line: a dict is an inline table."""
    import tomlkit

    if not isinstance(value, dict):
        item: Item = tomlkit.item(value)
        return item
    inline = tomlkit.inline_table()
    inline.update(value)
    return inline


def write_case(case: Case, folder: Path, *, known: Sequence[ParameterLike] = ()) -> Path:
    """Writes ``folder/<id>.toml`` and gives its path.

    Raises `InputError` where that file is there already, or another file of the folder holds the id.
    """
    path = folder / f"{case.id}.toml"
    read_cases.cache_clear()  # the folder may have changed since it was read, and changes now
    taken = {other.id for other in read_cases(folder)} if folder.is_dir() else set()
    if path.exists() or case.id in taken:
        raise InputError(
            f"{folder} has a case {case.id} already.", hint="Choose another id, or edit the file that is there."
        )
    write_atomic(make_folder(folder) / path.name, render_case(case, known=known))
    read_cases.cache_clear()
    return path
