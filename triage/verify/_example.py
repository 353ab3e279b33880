"""A small repository with a flaky test, for those who want to see a verification before they need one.

The flake is a real kind: of modalities with equally many tokens, the first of a *set* is taken, and Python orders sets
of words anew in every process. vLLM's encoder budget once did so; ties go by name now.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triage.errors import InputError

_BUDGET = '''"""Which modality start-up profiles: the one with the most tokens per item."""

TOKENS = {"audio": 1280, "image": 1280, "video": 1280}


def choose_modality(modalities):
    return max(modalities, key=TOKENS.get)
'''
_TEST = """from budget import TOKENS, choose_modality


def test_ties_go_by_name():
    assert choose_modality(set(TOKENS)) == "audio"


if __name__ == "__main__":
    test_ties_go_by_name()
"""
_CHOICE = "max(modalities, key=TOKENS.get)"
_FIXES = {
    "sorted": "max(sorted(modalities), key=TOKENS.get)",  # the first of equals is then the first by name
    "reordered": "max(list(modalities), key=TOKENS.get)",  # looks like care, and changes nothing
}


@dataclass(frozen=True, kw_only=True)
class Example:
    """The repository, the command that its test runs with, and a patch for each attempt at a fix."""

    folder: Path
    command: tuple[str, ...]
    patches: dict[str, Path]


def make_example(folder: Path) -> Example:
    """Makes the repository below ``folder``, with one commit, and the patches ``sorted`` and ``reordered`` beside it.

    ::

        example = make_example(Path("example"))
        change = Change(patch=example.patches["sorted"])
        verify_fix(Plan(command=example.command, folder=example.folder, change=change), Path("out"))
    """
    repository = folder / "repository"
    if repository.exists():
        raise InputError(f"{repository} exists already.", hint="Name another folder.")
    repository.mkdir(parents=True)
    (repository / "budget.py").write_text(_BUDGET, encoding="utf-8")
    (repository / "test_budget.py").write_text(_TEST, encoding="utf-8")
    _git(["init", "--quiet"], repository)
    _git(["add", "--all"], repository)
    _git(["commit", "--quiet", "--message", "Choose what to profile"], repository)
    patches = {}
    for name, choice in _FIXES.items():
        (repository / "budget.py").write_text(_BUDGET.replace(_CHOICE, choice), encoding="utf-8")
        patches[name] = folder / f"{name}.diff"
        patches[name].write_text(_git(["diff"], repository), encoding="utf-8")
        _git(["checkout", "--quiet", "--", "."], repository)
    return Example(folder=repository, command=(sys.executable, "test_budget.py"), patches=patches)


def _git(words: Sequence[str], folder: Path) -> str:
    """Runs git as nobody in particular, at a fixed time: the example has the same revision everywhere."""
    date = {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
    who = ["-c", "user.name=triage", "-c", "user.email=triage@localhost", "-c", "commit.gpgsign=false"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | date
    done = subprocess.run(["git", *who, *words], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout
