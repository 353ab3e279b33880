"""One case, from its notebook to its report on disk."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from triage.cases import CATALOGUE_VARIABLE, Case
from triage.engine.server_log import LOGS_VARIABLE
from triage.errors import StorageError
from triage.files import make_folder, write_atomic
from triage.redaction import redact_result, redact_text
from triage.report._again import name_command
from triage.report._audit import Audit, audit_notebook
from triage.report._devices import NO_DEVICE, Device
from triage.report._execute import Run, execute_notebook, read_source
from triage.report._outcome import End
from triage.report._parameters import Parameter, check_parameters, read_parameters
from triage.report._render import prepare_rendering, render_opening, render_report
from triage.report._settle import open_result, settle_result
from triage.result import Result

NOTEBOOK, REPORT, RESULT, LOG = "notebook.ipynb", "report.html", "result.json", "run.log"
WORK, LOGS = "work", "logs"


def check_case(
    case: Case, *, notebook: Path | None = None, values: Mapping[str, Any] | None = None, texts: Sequence[str] = ()
) -> dict[str, Any]:
    """The parameters that a case will run with: its own, then ``values``, then ``texts`` (``NAME=VALUE``).

    A notebook with a parameter ``case`` or ``case_id`` is told the case's id. Raises one `ParameterError` with
    every problem.
    """
    known = read_parameters(notebook or case.notebook_path)
    own: dict[str, Any] = {p.name: case.id for p in known if p.name in {"case", "case_id"}}
    values = {**own, **case.parameters, **(values or {})}
    return check_parameters(known, values=values, texts=texts, place=f"{case.id} ({case.notebook})")


def reproduce_case(
    case: Case,
    out: Path,
    *,
    notebook: Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    catalogue: Path | None = None,
    timeout_s: float | None = None,
    cell_timeout_s: int | None = None,
    stop: threading.Event | None = None,
    device: Device = NO_DEVICE,
    on_cell: Callable[[int], None] = lambda _: None,
) -> Result:
    """Runs the notebook of a case and writes ``out/<case>/{notebook.ipynb, report.html, result.json, run.log}``.

    ``notebook`` overrides the case's own. ``parameters`` win over the case's. ``catalogue`` is the private folder that
    the case is from, so that `triage.read_case` finds it inside the notebook. ``result.json`` and the page say
    INCOMPLETE from the first moment until the run has ended; no result or report of an earlier run is left beside them.
    What the notebook writes with relative paths lands in ``out/<case>/work``, the logs of its servers in
    ``out/<case>/logs``. It runs on ``device`` alone; ``on_cell`` hears how many of its code cells have ended.

    Raises `ParameterError` or `InputError` before anything is written, and `StorageError` where the folder
    cannot be written. A notebook that fails is no error: the result says so.
    """
    source = notebook or case.notebook_path
    checked = check_case(case, notebook=source, values=parameters)
    opened = open_case(case, out, notebook=source, parameters=checked, catalogue=catalogue)
    folder = out / case.id
    work = make_folder(folder / WORK)

    if stop is not None and stop.is_set():
        run = Run(end=End.STOPPED, detail="", duration_s=0.0, papermill_s=0.0)
    else:
        warming = threading.Thread(target=prepare_rendering, name="warming")
        warming.start()
        run = execute_notebook(
            source,
            folder / NOTEBOOK,
            folder=work,
            log=folder / LOG,
            parameters=checked,
            env={**device.env, LOGS_VARIABLE: str((folder / LOGS).absolute())}
            | ({} if catalogue is None else {CATALOGUE_VARIABLE: str(catalogue.absolute())}),
            timeout_s=timeout_s,
            cell_timeout_s=cell_timeout_s,
            stop=stop,
            hold=device.hold,
            on_cell=on_cell,
        )
        warming.join()
    for log in (folder / LOG, *(folder / LOGS).glob("*.log")):
        _redact_log(log)
    with suppress(OSError):  # it holds files: what the notebook wrote there is kept
        work.rmdir()
    executed, audit = _audit_file(folder / NOTEBOOK, source)
    result = redact_result(settle_result(opened, run, audit, log_name=LOG))
    # The result first: it is small, and the one file that other programs read.
    write_atomic(folder / RESULT, result.to_json())
    write_report(folder, case=case, result=result, notebook=executed, parameters=read_parameters(source))
    return result


def open_case(
    case: Case, out: Path, *, notebook: Path, parameters: Mapping[str, Any], catalogue: Path | None = None
) -> Result:
    """Makes ``out/<case>`` say INCOMPLETE, result and page alike, and nothing of an earlier run; returns that result.

    Killed at any moment, it leaves whole files, and never two that contradict each other. Raises `StorageError` or
    `InputError`.
    """
    folder = make_folder(out / case.id)
    opened = plan_opening(case, out, parameters=parameters, catalogue=catalogue)
    _clear(folder)
    write_atomic(folder / RESULT, opened.to_json())
    write_atomic(folder / REPORT, render_opening(opened, case=case, parameters=read_parameters(notebook)))
    return opened


def plan_opening(case: Case, out: Path, *, parameters: Mapping[str, Any], catalogue: Path | None = None) -> Result:
    """What a result says of its run before there is anything to say: INCOMPLETE, parameters, versions, this moment."""
    again = name_command(case, parameters=parameters, out=out, catalogue=catalogue)
    return redact_result(open_result(case, parameters=parameters, started=datetime.now(UTC), again=again))


def write_report(
    folder: Path, *, case: Case, result: Result, notebook: dict[str, Any], parameters: Sequence[Parameter]
) -> None:
    """Writes the page of a run. Raises `StorageError`."""
    log = folder / LOG
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    page = render_report(notebook, result=result, case=case, parameters=parameters, log=text)
    write_atomic(folder / REPORT, page)


def _clear(folder: Path) -> None:
    """Removes what an earlier run left, so that none of it can be taken for this run's."""
    try:
        for name in (REPORT, NOTEBOOK, LOG):
            (folder / name).unlink(missing_ok=True)
        for name in (WORK, LOGS):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder} of an earlier run cannot be removed ({error.strerror}).",
            hint="Remove it, or name another folder with --out.",
        ) from error


def _redact_log(log: Path) -> None:
    if log.is_file():
        text = log.read_text(encoding="utf-8", errors="replace")
        if (redacted := redact_text(text)) != text:
            write_atomic(log, redacted)


def _audit_file(path: Path, source: Path) -> tuple[dict[str, Any], Audit]:
    """Audits the executed notebook and saves it corrected; where the run never came to a save, the source."""
    try:
        notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        notebook = read_source(source)
    audit = audit_notebook(notebook)
    # papermill records absolute paths, and with them somebody's home.
    notebook["metadata"]["papermill"] |= {"input_path": source.name, "output_path": path.name}
    write_atomic(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return notebook, audit
