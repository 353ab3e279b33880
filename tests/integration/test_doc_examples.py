"""The examples of the documentation that are marked to run do run, and print what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"<!-- run -->\n```console\n(.*?)```", re.S)
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text(encoding="utf-8"))]


def read_examples(page: Path) -> list[tuple[str, list[str]]]:
    """Each command of a page with the lines that its output must hold."""
    examples: list[tuple[str, list[str]]] = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            lines = part.splitlines()
            size = next((n for n, line in enumerate(lines) if line == "EOF"), None)
            if size is None:
                size = next(n for n, line in enumerate(lines) if not line.endswith("\\"))
            examples.append(("\n".join(lines[: size + 1]), lines[size + 1 :]))
    return examples


@pytest.mark.engine
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_print_what_it_says(page: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command, expected in read_examples(page):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        for line in expected:
            assert line in done.stdout, f"{command}\nprinted\n{done.stdout}"


def test_pages_have_examples_that_run() -> None:
    assert "new-case" in [page.stem for page in PAGES]
