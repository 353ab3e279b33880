"""An installed package, or a historical one, with a patch: changed files in front, the rest linked, nothing touched."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from triage.errors import InputError, MissingDependencyError

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.pth", "sitecustomize.py")
# Parts of a repository that no wheel holds: a patch of them says nothing of the installed package.
_BESIDE = ("tests", "docs", "benchmarks", "examples", ".buildkite", ".github", "requirements")


def find_package(name: str) -> Path:
    """The folder of an importable package. Raises `MissingDependencyError` where there is none."""
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"No package {name} is installed in this Python.", hint="Name one that is: --package vllm"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def link_packages(source: Path, target: Path) -> None:
    """A folder of packages (or one package) once more, every file a link. Python then imports from ``target``."""
    shutil.copytree(source, target, copy_function=os.symlink, ignore=_LEFT_OUT, dirs_exist_ok=True)


def split_files(files: tuple[str, ...], overlay: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files of a patch that belong to the packages of the overlay, and those that are beside them, like tests.

    Raises `InputError` where none belongs, or where one is neither: compiled code cannot be laid over.
    """
    packages = {path.name for path in overlay.iterdir() if path.is_dir()}
    inside = tuple(name for name in files if name.partition("/")[0] in packages and name.endswith(".py"))
    beside = tuple(name for name in files if name.partition("/")[0] in _BESIDE)
    if rest := [name for name in files if name not in inside and name not in beside]:
        raise InputError(
            f"An overlay holds Python files of {_name_packages(overlay)} only, not {', '.join(rest)}.",
            hint="Build such a change, and verify it in a checkout.",
        )
    if not inside:
        raise InputError(
            f"The patch changes no file of {_name_packages(overlay)}: only {', '.join(beside)}.",
            hint="Verify a change of the tests in a checkout of the repository.",
        )
    return inside, beside


def own_files(files: tuple[str, ...], overlay: Path) -> None:
    """Makes files of their own of some links, so that a patch cannot reach what they lead to."""
    for name in files:
        path = overlay / name
        if path.is_symlink():
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)


def _name_packages(overlay: Path) -> str:
    names = sorted(path.name for path in overlay.iterdir() if path.is_dir() and (path / "__init__.py").exists())
    return ", ".join(names if len(names) < 5 else [name for name in names if name in {"vllm", "transformers"}])
