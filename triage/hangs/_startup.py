"""A real vLLM start under the watch: what `triage.encoder` asks of a start, and what a hang leaves."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from triage.engine.phases import Phase
from triage.engine.server import PlannedServer, plan_server
from triage.engine.startup import Startup, ask_planned_server, read_startup_phases
from triage.errors import EngineError
from triage.files import make_folder
from triage.hangs._record import Ending, HangRecord
from triage.hangs._watch import watch_command

LOG_NAME = "server.log"
_READY = b"Application startup complete"  # uvicorn's
_LOOK_S = 0.2


def watch_startup(
    model: Path,
    *,
    out: Path,
    name: str | None = None,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    stall_s: float = 120.0,
    time_limit_s: float = 300.0,
    send_image: bool = False,
) -> tuple[HangRecord, Startup]:
    """Starts a real server under the watch and ends it as soon as it is ready, has hung, or its time is up.

    With ``send_image`` it lives until it has answered one image request.

    The log is ``out/server.log``, the record ``out/hang.json``. ``env`` is laid over `engine_environment`. The second
    answer is what `triage.encoder.classify_encoder_warmup` takes. Raises `CheckpointError` for a folder that is no
    model, and `InputError` for limits that are none; a start that dies or hangs is a finding, not an error.

    ::

        record, start = watch_startup(find_model("tiny:qwen25vl"), out=Path("watched"), args=profiling_args())
    """
    planned = plan_server(model, args=args, env=env)
    log_path = make_folder(out) / LOG_NAME
    asking = _Asking(planned, log_path) if send_image else None
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        record = watch_command(
            planned.command,
            out=out,
            stall_s=stall_s,
            timeout_s=time_limit_s,
            env=planned.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            until=(Phase.REQUEST if asking else Phase.READY).value,
        )
    finally:
        os.close(log)
        answer = asking.finish() if asking else _Answer()
    ready = any(mark.phase == Phase.READY for mark in record.phases)
    start = Startup(
        name=name or model.name,
        args=tuple(args),
        log=read_startup_phases(log_path.read_text(encoding="utf-8", errors="replace")),
        ready=ready,
        timed_out=not ready and record.ending in {Ending.STALLED, Ending.TIME_LIMIT},
        elapsed_s=_find_elapsed(record),
        time_limit_s=time_limit_s,
        error=answer.error if ready else _explain(record, log_path),
        image_tokens=answer.tokens,
    )
    return record, start


@dataclass
class _Answer:
    tokens: int | None = None
    error: str | None = None


class _Asking:
    """A thread that sends one image request as soon as the server is ready."""

    def __init__(self, planned: PlannedServer, log_path: Path) -> None:
        self._planned = planned
        self._log_path = log_path
        self._over = threading.Event()
        self._answer = _Answer()
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(_LOOK_S):
            if self._is_ready():
                try:
                    self._answer.tokens = ask_planned_server(self._planned)
                except EngineError as error:
                    self._answer.error = error.message
                return

    def _is_ready(self) -> bool:
        try:
            return _READY in self._log_path.read_bytes()
        except OSError:  # not there yet
            return False

    def finish(self) -> _Answer:
        """What came of it. The server is gone by now."""
        self._over.set()
        self._thread.join()
        return self._answer


def _find_elapsed(record: HangRecord) -> float:
    """Until it was ready; else until its end."""
    return next((mark.at_s for mark in record.phases if mark.phase == Phase.READY), record.duration_s)


def _explain(record: HangRecord, log_path: Path) -> str:
    where = f" in phase {record.phase}" if record.phase else ""
    because = record.diagnosis.because[0] if record.diagnosis.because else ""
    return (
        f"vLLM did not become ready: {record.ending}{where}, {record.diagnosis.hang_class}. {because} See {log_path}."
    )
