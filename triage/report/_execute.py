"""Runs a notebook in a guarded process: nothing of it outlives the run, whatever happens."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triage
from triage.errors import InputError, StorageError
from triage.processes import Guarded, start_guarded
from triage.report._outcome import End, Outcome, Request
from triage.report._progress import PROGRESS_VARIABLE

_LOOK_EVERY_S = 0.2
_MATPLOTLIB_INLINE = "module://matplotlib_inline.backend_inline"


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a run ended. ``orphans`` names the processes that the notebook left behind, and that were ended."""

    end: End
    detail: str
    duration_s: float
    papermill_s: float
    orphans: tuple[str, ...] = ()
    survivors: tuple[str, ...] = ()


def execute_notebook(
    source: Path,
    output: Path,
    *,
    folder: Path,
    log: Path,
    parameters: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    cell_timeout_s: int | None = None,
    stop: threading.Event | None = None,
    hold: Sequence[int] = (),
    on_cell: Callable[[int], None] = lambda _: None,
) -> Run:
    """Runs a notebook through papermill, with a kernel of this interpreter that works in ``folder``.

    ``env`` is laid over this process's environment. ``output`` is saved at every cell and is whole at every moment.
    ``timeout_s`` bounds the whole notebook, ``cell_timeout_s`` each cell; setting ``stop`` ends the run from another
    thread. ``hold`` are descriptors that stay open until the last process of the run has ended. ``on_cell`` hears how
    many code cells have ended. When this function returns, no process of the run is left, and none is left either if
    this process is killed. Raises `StorageError` if the log cannot be written; every other ending is in the returned
    `Run`.
    """
    began = time.monotonic()
    # The sockets, start-up files and messages of this run; outside the report, which may lie on a shared disk.
    with tempfile.TemporaryDirectory(prefix="triage-", ignore_cleanup_errors=True) as private:
        asked, answered = Path(private, "request.json"), Path(private, "outcome.json")
        progress = Path(private, "cells")
        cleaned = Path(private, source.name)
        cleaned.write_text(json.dumps(read_source(source)), encoding="utf-8")
        request = Request(
            source=str(cleaned),
            output=str(output.absolute()),
            folder=str(folder.absolute()),
            parameters=dict(parameters or {}),
            cell_timeout_s=cell_timeout_s,
            progress=str(progress),
        )
        asked.write_text(request.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "triage.report._worker", str(asked), str(answered)]
        with _open_log(log) as stream:
            worker = start_guarded(
                command, env=_plan_environment(private, env or {}), cwd=private, stdout=stream, stderr=stream, hold=hold
            )
        with worker:
            interrupted = _wait(worker, timeout_s=timeout_s, stop=stop, look=lambda: on_cell(_read_cells(progress)))
        ending = worker.end()
        outcome = _read_outcome(answered, interrupted, ending.returncode, timeout_s)
    return Run(
        end=outcome.end,
        detail=outcome.detail,
        duration_s=time.monotonic() - began,
        papermill_s=outcome.papermill_s,
        orphans=tuple(orphan.name for orphan in ending.orphans),
        survivors=tuple(survivor.name for survivor in ending.survivors),
    )


def read_source(notebook: Path) -> dict[str, Any]:
    """A notebook's JSON without what an earlier execution left in it.

    papermill drops the outputs, but keeps ``metadata.execution``, by which the audit tells a finished cell.
    Raises `InputError` if it is not a notebook.
    """
    try:
        content: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
        for cell in content["cells"]:
            cell["metadata"].pop("execution", None)
            cell["metadata"].pop("papermill", None)
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
        content["metadata"].pop("papermill", None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{notebook} is not a notebook ({type(error).__name__}: {error}).", hint="Name a Jupyter notebook."
        ) from error
    return content


def count_cells(notebook: Path) -> int:
    """How many code cells a notebook has that do something. Raises `InputError` if it is none."""
    cells = read_source(notebook)["cells"]
    return sum(cell["cell_type"] == "code" and bool("".join(cell["source"]).strip()) for cell in cells)


def _open_log(log: Path) -> Any:
    try:
        return log.open("wb")
    except OSError as error:
        raise StorageError(
            f"{log} cannot be written ({error.strerror}).", hint="Free some space, or name another folder with --out."
        ) from error


def _plan_environment(private: str, overrides: Mapping[str, str]) -> dict[str, str]:
    environment = {
        **os.environ,
        **overrides,
        "IPYTHONDIR": str(Path(private, "ipython")),  # no start-up files of the user
        "JUPYTER_RUNTIME_DIR": str(Path(private, "runtime")),
        "JUPYTER_PLATFORM_DIRS": "1",
        "MPLBACKEND": _MATPLOTLIB_INLINE,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        PROGRESS_VARIABLE: "0",
        "TQDM_DISABLE": "1",  # progress bars flood an executed notebook, or leave a widget that cannot be shown
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # tqdm.auto asks for widgets, which a page could not show anyway
        "PYTHONWARNINGS": ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:IProgress not found"])),
    }
    home = str(Path(triage.__file__).parents[1])
    if home not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:  # a checkout, not a wheel
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return environment


def _wait(
    worker: Guarded, *, timeout_s: float | None, stop: threading.Event | None, look: Callable[[], None]
) -> End | None:
    """Waits for the worker, looking now and then. Says why it must be ended early; None where it ended by itself."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        if stop is not None and stop.is_set():
            return End.STOPPED
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return End.TIMED_OUT
        try:
            worker.wait(timeout_s=_LOOK_EVERY_S if left is None else min(_LOOK_EVERY_S, left))
        except TimeoutError:
            look()
            continue
        return None


def _read_cells(progress: Path) -> int:
    try:
        return int(progress.read_text())
    except (OSError, ValueError):  # not yet, or half written
        return 0


def _read_outcome(answered: Path, interrupted: End | None, returncode: int | None, timeout_s: float | None) -> Outcome:
    try:
        return Outcome.model_validate_json(answered.read_bytes())
    except FileNotFoundError:
        pass
    if interrupted is End.TIMED_OUT:
        return Outcome(end=End.TIMED_OUT, detail=f"{timeout_s:g} s")
    if interrupted is not None:
        return Outcome(end=interrupted)
    status = "its exit status is unknown" if returncode is None else f"its exit status is {returncode}"
    return Outcome(end=End.WORKER_DIED, detail=status)
