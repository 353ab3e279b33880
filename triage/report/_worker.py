"""Runs one notebook through papermill, in a process of its own: ``python -m triage.report._worker REQUEST OUTCOME``.

The process stands under a guard (`triage.processes`), which ends whatever the kernel leaves behind. How the run
ended goes to the OUTCOME file; the notebook itself is saved at every cell, whole each time.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import LocalHandler, papermill_io

from triage.files import replace_file
from triage.redaction import redact_text
from triage.report._outcome import End, Outcome, Request

_SOCKET_PATH_BYTES = 100  # the kernel's limit is 107, and jupyter_client adds a number


class AtomicHandler(LocalHandler):  # type: ignore[misc]  # papermill is untyped
    """papermill's local files, but whole (``open(path, "w")`` left broken JSON behind a kill), and without secrets.

    Each time it also tells how far the notebook has come.
    """

    def __init__(self, progress: Path) -> None:
        super().__init__()
        self._progress = progress

    def write(self, buf: str, path: str) -> None:
        try:
            replace_file(Path(path), redact_text(buf).encode())
        except OSError as error:
            raise NotSavedError(error.strerror or str(error)) from error
        with suppress(OSError):  # nobody's verdict depends on it
            self._progress.write_text(str(buf.count('"shell.execute_reply"')))


class NotSavedError(Exception):
    """The notebook could not be saved. Not an OSError, which a cell's own trouble could be mistaken for."""


class ThisInterpreterKernel(AsyncKernelManager):  # type: ignore[misc]  # traitlets are untyped
    """A kernel of this very interpreter; a user-level ``python3`` kernelspec may be of another environment.

    It talks over Unix sockets in a private folder, since a free TCP port may be taken by the time it is bound.
    """

    last_returncode: int | None = None

    def __init__(self, **kwargs: Any) -> None:
        sockets = Path(os.environ["JUPYTER_RUNTIME_DIR"]).with_name("k")
        if len(str(sockets)) < _SOCKET_PATH_BYTES:
            kwargs |= {"transport": "ipc", "ip": str(sockets)}
        super().__init__(**kwargs)

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv.append("--HistoryManager.enabled=False")  # no history of a user is read or written
        return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python")

    async def _async_interrupt_kernel(self) -> None:
        """As before, but not on the way to a shutdown: an idle kernel would put it into the log, as an error."""
        if not self.shutting_down:
            await super()._async_interrupt_kernel()

    async def is_alive(self) -> bool:
        if self.has_kernel and self.provisioner is not None:
            type(self).last_returncode = await self.provisioner.poll()
        return bool(await super()._async_is_alive())


def run(request: Request) -> Outcome:
    """Runs the notebook to its end and says how it ended."""
    papermill_io.reset()
    papermill_io.register("local", AtomicHandler(Path(request.progress)))
    began = time.monotonic()
    try:
        papermill.execute_notebook(
            request.source,
            request.output,
            parameters=request.parameters,
            kernel_name="python3",
            cwd=request.folder,
            progress_bar=False,
            autosave_cell_every=5,
            execution_timeout=request.cell_timeout_s,
            kernel_manager_class=ThisInterpreterKernel,
            log_output=False,
        )
        end, detail = End.FINISHED, ""
    except PapermillExecutionError as error:
        end, detail = End.CELL_FAILED, f"{error.ename}: {error.evalue}"
    except CellTimeoutError:
        end, detail = End.CELL_TIMED_OUT, f"{request.cell_timeout_s:g} s"
    except DeadKernelError:
        end, detail = End.KERNEL_DIED, _say_returncode(ThisInterpreterKernel.last_returncode)
    except NotSavedError as error:
        end, detail = End.NOT_SAVED, str(error)
    except RuntimeError as error:  # nbclient: the kernel died or stayed silent while it started
        end, detail = End.KERNEL_DID_NOT_START, str(error)
    return Outcome(end=end, detail=detail, papermill_s=time.monotonic() - began)


def _say_returncode(returncode: int | None) -> str:
    if returncode is None:
        return "its exit status is unknown"
    if returncode >= 0:
        return f"it exited with status {returncode}"
    try:
        return f"it was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"it was ended by signal {-returncode}"


def main() -> None:
    request = Request.model_validate_json(Path(sys.argv[1]).read_bytes())
    outcome = run(request)
    replace_file(Path(sys.argv[2]), outcome.model_dump_json().encode())


if __name__ == "__main__":
    main()
