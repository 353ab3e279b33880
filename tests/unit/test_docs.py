"""The documentation: what exists is described, what is described exists, and its examples are commands."""

import re
import shlex
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest
import typer

from triage.cli import app
from triage.hangs import HangClass
from triage.result import Family, Verdict

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
COMMAND = typer.main.get_command(app)


def list_commands(command=COMMAND, path=()) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command with its path, those of groups included."""
    for name, child in getattr(command, "commands", {}).items():
        yield " ".join((*path, name)), child
        yield from list_commands(child, (*path, name))


def read_section(name: str) -> str:
    """What docs/commands.md says of one command."""
    found = re.search(rf"^## `triage {re.escape(name)}`\n(.*?)(?=^## |\Z)", COMMANDS, re.M | re.S)
    return "" if found is None else found[1]


@pytest.mark.parametrize(
    ("name", "command"), list(list_commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_each_of_its_options_is_described(name, command):
    section = read_section(name)
    assert section, f"docs/commands.md has no section `triage {name}`"
    options = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    missing = [
        o for o in options if o.startswith("-") and o not in {"--help", "-h"} and not re.search(rf"`{o}[ `]", section)
    ]
    assert not missing


def test_no_section_describes_a_command_or_an_option_that_is_gone():
    known = dict(list_commands())
    for name in re.findall(r"^## `triage ([^`]*)`$", COMMANDS, re.M):
        assert name in known
        real = {option for parameter in known[name].params for option in (*parameter.opts, *parameter.secondary_opts)}
        rows = re.findall(r"^\| `(-[\w-]+)", read_section(name), re.M)
        assert set(rows) <= real, name


@pytest.mark.parametrize("words", [Verdict, HangClass, Family], ids=lambda kind: kind.__name__)
def test_every_word_that_a_report_may_say_is_explained(words: type[StrEnum]):
    text = (ROOT / "docs" / "words.md").read_text(encoding="utf-8")
    assert [word.value for word in words if f"`{word.value}`" not in text] == []


def list_examples() -> Iterator[tuple[str, str]]:
    """The `triage` commands that the pages show, with continued lines joined."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```console\n(.*?)```", text, re.S):
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                if line.startswith("$ triage "):
                    yield page.name, line.removeprefix("$ ").partition("    #")[0]


@pytest.mark.parametrize(("page", "line"), list(list_examples()))
def test_every_example_is_a_command_that_triage_understands(page, line):
    words = shlex.split(line)[1:]
    command, path = COMMAND, []
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words[0]]
        path.append(words.pop(0))
    assert path, line
    command.make_context(" ".join(path), words)  # parses and checks every option; runs nothing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
