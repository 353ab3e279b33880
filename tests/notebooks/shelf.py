"""Small notebooks and catalogues, made on the spot."""

import json
from pathlib import Path
from typing import Any

from triage.cases import Case

CONCLUDE = """
from triage.result import Result
conclude(Result(case="any", family="unknown", verdict="REPRODUCED", cause="a cause", next_command="a command"))
"""


def code(source: str, **metadata: Any) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}


def prose(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def parameters(source: str) -> dict[str, Any]:
    return code(source, tags=["parameters"])


OPEN = code('from triage.report import conclude, open_report, show_figure, show_table\nopen_report("any")')
END = code(CONCLUDE.strip())


class Shelf:
    """A folder of cases with their notebooks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, case_id: str, *cells: dict[str, Any], parameters: str = "", end: dict[str, Any] = END) -> Case:
        """A case of this id, whose notebook opens a report, has these cells, and concludes."""
        name = case_id.replace("-", "_") + ".ipynb"
        kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        given = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        rest = [c for c in cells if c not in given]
        everything = [dict(c, id=f"cell-{n}") for n, c in enumerate([*given, OPEN, *rest, end])]
        notebook = {"cells": everything, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}
        (self.folder / name).write_text(json.dumps(notebook))
        fields = {
            "id": case_id,
            "family": "token_count",
            "title": f"The case {case_id}",
            "upstream": "https://github.com/vllm-project/vllm/pull/42909",
            "test": "tests/test_it.py",
            "notebook": name,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        (self.folder / f"{case_id}.toml").write_text("\n".join([*lines, "[parameters]", parameters]))
        return Case(**fields)

    def find(self, case: Case) -> Path:
        return self.folder / case.notebook
