"""The notebooks of cases as working copies, and the command that opens them in JupyterLab."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from triage.cases import CATALOGUE_VARIABLE
from triage.engine.environment import engine_environment
from triage.files import make_folder, write_atomic
from triage.report._campaign import Plan
from triage.report._execute import read_source


def prepare_notebooks(plans: Sequence[Plan], folder: Path) -> tuple[Path, ...]:
    """Writes ``folder/<case>.ipynb`` for each planned case: the notebook without outputs, with a cell of the case's
    parameters behind the defaults, as papermill injects it.

    A file that is there already is somebody's work, and stays as it is. Raises `StorageError`.
    """
    make_folder(folder)
    paths = []
    for plan in plans:
        path = folder / f"{plan.case.id}.ipynb"
        if not path.exists():
            write_atomic(path, _inject(plan))
        paths.append(path)
    return tuple(paths)


def _inject(plan: Plan) -> str:
    import nbformat
    from papermill.parameterize import parameterize_notebook

    notebook = nbformat.reads(json.dumps(read_source(plan.notebook)), as_version=4)
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])  # papermill's own reader adds these two
    notebook.metadata["papermill"] = {}
    notebook = parameterize_notebook(
        notebook, dict(plan.parameters), comment=f"the case {plan.case.id}", kernel_name="python3", language="python"
    )
    # papermill marks its copy as executed, and JupyterLab asks for a kernel spec.
    notebook.metadata.pop("papermill", None)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    text: str = nbformat.writes(notebook)
    return f"{text}\n"


def plan_lab(
    folder: Path, *, opened: Path | None = None, options: Sequence[str] = (), catalogue: Path | None = None
) -> tuple[list[str], Mapping[str, str]]:
    """The command that opens JupyterLab on a folder, with this interpreter's kernel, and its environment.

    ``opened`` is the notebook to show first, ``options`` are JupyterLab's own. Raises `MissingDependencyError` where
    torch is not installed.

    >>> command, env = plan_lab(Path("lab"), opened=Path("lab/mine.ipynb"), options=["--no-browser"])
    >>> command[1:4], command[-1], env["JUPYTER_PREFER_ENV_PATH"]
    (['-m', 'jupyterlab', '--no-browser'], '--LabApp.default_url=/lab/tree/mine.ipynb', '1')
    """
    # A kernel that the user has installed under the same name may be of another environment.
    overrides = {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PLATFORM_DIRS": "1"}
    if catalogue is not None:
        overrides[CATALOGUE_VARIABLE] = str(catalogue.absolute())
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={folder.absolute()}"]
    if opened is not None:  # as the default address: it is printed, and so serves those without a browser here as well
        command.append(f"--LabApp.default_url=/lab/tree/{opened.name}")
    return command, engine_environment(overrides)
