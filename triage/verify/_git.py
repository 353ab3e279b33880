"""Copies of a git repository at a revision. The repository itself is only read: none of its hooks, no worktree."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from triage.errors import InputError, MissingDependencyError

_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", "-c", "core.fsmonitor=false")
# What a build leaves in a checkout, and what an import of the checkout needs.
_BUILT = ("*.so", "*_version.py")


def run_git(*words: str | Path, folder: Path, ceiling: Path | None = None) -> str:
    """What git prints. Raises `InputError` with git's own first words where it fails.

    Variables like GIT_DIR, which a hook sets, are left out: they would make every folder that repository. With
    ``ceiling`` no repository above the folder counts.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    if ceiling is not None:
        env["GIT_CEILING_DIRECTORIES"] = str(ceiling)
    try:
        done = subprocess.run(
            ["git", *_QUIET, *map(str, words)],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingDependencyError("git is not installed.", hint="Install it: apt-get install git") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        reason = next(
            (line for line in said if line.startswith(("error:", "fatal:"))), (said or ["no reason given"])[0]
        )
        raise InputError(f"git {words[0]}: {reason.partition(': ')[2] or reason}.", hint="Check it with git itself.")
    return done.stdout.decode(errors="surrogateescape")


def find_repository(folder: Path) -> Path | None:
    """The top of the working tree that holds the folder; None where there is none."""
    try:
        top = run_git("rev-parse", "--show-toplevel", folder=folder).rstrip("\n")
    except InputError:
        return None
    return Path(top) if top else None


def read_revision(repository: Path, revision: str = "HEAD") -> str:
    """The hash of a revision. Raises `InputError` where the repository does not have it."""
    try:
        return run_git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", folder=repository).strip()
    except InputError:
        if revision == "HEAD":
            raise InputError(f"{repository} has no commit yet.", hint="Commit the base first.") from None
        raise InputError(
            f"{repository} has no revision {revision!r}.", hint="Fetch it, or name a branch, a tag or a hash."
        ) from None


def list_uncommitted(repository: Path) -> list[str]:
    """The files of the working tree that differ from HEAD, untracked ones included; the copies do without them."""
    text = run_git("status", "--porcelain", "-z", "--no-renames", folder=repository)
    return [entry[3:] for entry in text.split("\0") if entry]


def list_changed(repository: Path, before: str, after: str) -> list[str]:
    """The files that differ between two revisions."""
    text = run_git("diff", "--name-only", "--no-renames", "-z", before, after, folder=repository)
    return [name for name in text.split("\0") if name]


def copy_revision(repository: Path, target: Path, revision: str) -> None:
    """A working tree of the revision in ``target``, with a repository of its own that borrows the objects.

    Extension modules that were built in the working tree, and version files that its build wrote, are linked.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    git_folder = run_git("rev-parse", "--path-format=absolute", "--git-common-dir", folder=repository).rstrip("\n")
    words = ("--quiet", "--shared", "--no-checkout", "--template=", git_folder, target)
    run_git("clone", *words, folder=repository)
    run_git("checkout", "--quiet", "--detach", revision, folder=target)
    _link_built(repository, target)


def _link_built(repository: Path, target: Path) -> None:
    words: Sequence[str] = ("--others", "--ignored", "--exclude-standard", "-z", "--", *_BUILT)
    for name in run_git("ls-files", *words, folder=repository).split("\0"):
        copy = target / name
        if name and "site-packages" not in Path(name).parts and copy.parent.is_dir() and not copy.exists():
            copy.symlink_to(repository / name)
