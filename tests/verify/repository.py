"""A small repository with a command that fails, and the patches that a test puts onto it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Fails in the runs that FAILS names by their number, counted in the copy that it runs in.
CHECK = """
import pathlib, sys
import setting
count = pathlib.Path("count")
number = int(count.read_text()) if count.exists() else 0
count.write_text(str(number + 1))
if setting.FAILS(number):
    raise ValueError(f"boom in run {number}")
print("fine")
"""
ALWAYS = "FAILS = lambda number: True\n"
HALF = "FAILS = lambda number: number % 2 == 0\n"
NEVER = "FAILS = lambda number: False\n"
COMMAND = (sys.executable, "check.py")


class Repository:
    """A repository whose command stands in the folder ``sub``."""

    def __init__(self, folder: Path, *, setting: str = ALWAYS) -> None:
        self.top, self.place = folder / "repo", folder / "repo" / "sub"
        self._patches = folder
        self.place.mkdir(parents=True)
        self.git("init", "-q")
        self.write("sub/check.py", CHECK)
        self.write("sub/setting.py", setting)
        self.write("README", "one\n")
        self.commit()

    def git(self, *words: str) -> str:
        """What git prints."""
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false", *words]
        return subprocess.run(command, cwd=self.top, check=True, capture_output=True, text=True).stdout

    def write(self, name: str, text: str) -> None:
        """A file of the working tree."""
        (self.top / name).write_text(text)

    def commit(self) -> str:
        """Commits everything; the hash."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD").strip()

    def make_patch(self, name: str, text: str) -> Path:
        """The patch that gives a file this text; the working tree stays as it is."""
        path = self.top / name
        before = path.read_text() if path.exists() else None
        path.write_text(text)
        self.git("add", "-N", "--", name)
        patch = self._patches / f"{path.name}.diff"
        patch.write_text(self.git("diff", "HEAD", "--", name))
        self.git("reset", "-q")
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
        return patch

    def look(self) -> dict[str, bytes | str]:
        """Everything of it that a verification must leave alone."""
        files = {str(p.relative_to(self.top)): p.read_bytes() for p in self.top.rglob("*") if p.is_file()}
        held = {name: data for name, data in files.items() if not name.startswith(".git/")}
        return {**held, "status": self.git("status", "--porcelain"), "worktrees": self.git("worktree", "list")}
