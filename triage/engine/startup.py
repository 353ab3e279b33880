"""What a vLLM start-up did, read from its log: phases with times, and what profiling pushed through the encoder."""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from triage.engine.environment import Platform, read_platform
from triage.engine.phases import Phase, PhaseReader, strip_colour
from triage.engine.server import PlannedServer, Server, start_server
from triage.engine.server_log import new_log_path
from triage.errors import EngineError

_YEAR_S = 366 * 24 * 3600.0  # of the leap year 2000, which stands in for the year that the stamps leave out
_STAMP = re.compile(r"\b(?:DEBUG|INFO|WARNING|ERROR) (\d\d-\d\d \d\d:\d\d:\d\d) \[")
_PROFILED = re.compile(
    r"Encoder cache will be initialized with a budget of (?P<budget>\d+) tokens, "
    r"and profiled with (?P<items>\d+) (?P<modality>\w+) items"
)


@dataclass(frozen=True, kw_only=True)
class PhaseTime:
    """When a phase began, in seconds since the first stamped log line, and how long it took.

    ``duration_s`` is None for the phase in which the log ends. vLLM stamps whole seconds, so both are good to 1 s.
    """

    phase: Phase
    start_s: float
    duration_s: float | None
    line: str


@dataclass(frozen=True, kw_only=True)
class ProfiledEncoder:
    """vLLM's own record of what start-up profiling pushed through the encoder."""

    modality: str
    items: int
    encoder_budget: int
    line: str


@dataclass(frozen=True, kw_only=True)
class StartupLog:
    """What the log of one start-up says. ``profiled`` is None where no encoder was profiled, or the log ends before."""

    phases: tuple[PhaseTime, ...]
    profiled: ProfiledEncoder | None

    @property
    def last_phase(self) -> Phase | None:
        """The phase in which the log ends; None for a log without a stamped line."""
        return self.phases[-1].phase if self.phases else None

    @property
    def ready(self) -> bool:
        """Whether the server came up."""
        return self.last_phase is Phase.READY


def read_startup_phases(log_text: str) -> StartupLog:
    r"""Recognises the phases of vLLM's start-up in its log. Lines without a stamp take the time of the one before.

    >>> log = '''(APIServer pid=1) INFO 11-23 15:26:01 [api_utils.py:286] non-default args: {}
    ... (Worker pid=3) INFO 11-23 15:26:09 [cpu_model_runner.py:68] Starting to load model m...
    ... (Worker pid=3) INFO 11-23 15:26:11 [cpu_model_runner.py:87] Warming up model for the compilation...'''
    >>> [(time.phase.value, time.start_s, time.duration_s) for time in read_startup_phases(log).phases]
    [('config', 0.0, 8.0), ('weights', 8.0, 2.0), ('profile', 10.0, None)]
    """
    begun: list[tuple[Phase, float, str]] = []
    reader = PhaseReader()
    profiled = None
    first: datetime | None = None
    elapsed_s = 0.0
    for raw in log_text.splitlines():
        line = strip_colour(raw)
        if stamp := _STAMP.search(line):
            now = datetime.strptime(f"2000-{stamp[1]}", "%Y-%m-%d %H:%M:%S")  # vLLM's stamps carry no year
            first = now if first is None else first
            elapsed_s = max(elapsed_s, _seconds_between(first, now))
        begun += [(phase, elapsed_s, line) for phase in reader.read(line)]
        if reader.phase is Phase.REQUEST:
            begun = [mark for mark in begun if mark[0] is not Phase.REQUEST]
            break  # it has started
        if first is None:
            continue
        if profiled is None and (found := _PROFILED.search(line)):
            profiled = ProfiledEncoder(
                modality=found["modality"], items=int(found["items"]), encoder_budget=int(found["budget"]), line=line
            )
    ends = [start for _, start, _ in begun[1:]] + [None]
    phases = tuple(
        PhaseTime(phase=phase, start_s=start, duration_s=None if end is None else end - start, line=line)
        for (phase, start, line), end in zip(begun, ends, strict=False)
    )
    return StartupLog(phases=phases, profiled=profiled)


def _seconds_between(first: datetime, now: datetime) -> float:
    seconds = (now - first).total_seconds()
    # 31 December to 1 January; a stamp a little before the first is two processes writing at once.
    return seconds + _YEAR_S if seconds < -_YEAR_S / 2 else seconds


@dataclass(frozen=True, kw_only=True)
class Startup:
    """One real engine start under a time limit.

    ``elapsed_s`` counts from the start of the process until it answered, died or was ended at the limit.
    ``error`` is why it did not become ready, or did not answer. ``image_tokens`` is the prompt_tokens of an answered
    image request.
    """

    name: str
    args: tuple[str, ...]
    log: StartupLog
    ready: bool
    timed_out: bool
    elapsed_s: float
    time_limit_s: float
    error: str | None = None
    image_tokens: int | None = None


def profiling_args() -> tuple[str, ...]:
    """The engine arguments with which this platform really runs the start-up profile.

    A GPU always profiles. On the CPU vLLM warms up only a model that it compiles (``CPUModelRunner.warming_up_model``),
    so ``--enforce-eager`` would skip what is to be watched; Dynamo with its eager backend needs no C++ compiler.
    """
    if read_platform() is Platform.CPU:
        return ("--compilation-config", '{"mode": "DYNAMO_TRACE_ONCE", "backend": "eager"}')
    return ()


def measure_startup(
    model: Path,
    *,
    name: str,
    args: Sequence[str] = (),
    time_limit_s: float = 300.0,
    log_path: Path | None = None,
    send_image: bool = False,
) -> Startup:
    """Starts a real server, lets it answer one image request if ``send_image``, stops it, and reads its log.

    A start that dies or exceeds ``time_limit_s`` is a finding, not an error: its whole tree is ended and the log is
    read as far as it goes. ``log_path`` is where the log goes (else as in
    `start_server`). Raises `CheckpointError` for a
    folder that is no model.

    ::

        measure_startup(find_model("tiny:qwen25vl"), name="image only", args=["--limit-mm-per-prompt", '{"image": 1}'])
    """
    path = log_path or new_log_path(model.name)
    started = time.monotonic()
    error, image_tokens, ready = None, None, False
    elapsed_s = 0.0
    try:
        with start_server(model, args=args, log_path=path, ready_timeout_s=time_limit_s) as server:
            ready, elapsed_s = True, server.startup_s
            if send_image:
                image_tokens = ask_about_image(server)
    except EngineError as problem:
        elapsed_s = elapsed_s or time.monotonic() - started
        error = problem.message
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    log = read_startup_phases(text)
    return Startup(
        name=name,
        args=tuple(args),
        log=log,
        ready=ready,
        timed_out=not ready and elapsed_s >= time_limit_s,
        elapsed_s=elapsed_s,
        time_limit_s=time_limit_s,
        error=error,
        image_tokens=image_tokens,
    )


def ask_about_image(server: Server, *, width: int = 56, height: int = 56, max_tokens: int = 4) -> int:
    """Sends one generated PNG with a question to ``/v1/chat/completions``; returns the counted prompt tokens.

    ``width`` and ``height`` are in pixels. Raises `EngineError` with the server's own words if it refuses.
    """
    answer = server.chat(_ask_of_image(width, height), max_tokens=max_tokens)
    tokens: int = answer["usage"]["prompt_tokens"]
    return tokens


def ask_planned_server(planned: PlannedServer, *, timeout_s: float = 120.0) -> int:
    """As `ask_about_image`, of a server that somebody else has started as planned.

    Whatever the answer is, the server's log then holds a request that it answered: a watch that waits for one ends.
    """
    import httpx

    body = {"model": planned.served_name, "messages": _ask_of_image(56, 56), "max_tokens": 4, "temperature": 0.0}
    try:
        response = httpx.post(f"{planned.url}/v1/chat/completions", json=body, timeout=timeout_s)
        if response.is_error:
            httpx.post(f"{planned.url}/tokenize", json={"model": planned.served_name, "prompt": "a"}, timeout=timeout_s)
    except httpx.HTTPError as error:
        raise EngineError(
            f"The server did not answer an image request: {error or type(error).__name__}.", hint="Read its log."
        ) from error
    if response.is_error:
        raise EngineError(
            f"The server answered an image request with {response.status_code}: {response.text[:500]}",
            hint="Read its log.",
        )
    tokens: int = response.json()["usage"]["prompt_tokens"]
    return tokens


def _ask_of_image(width: int, height: int) -> list[dict[str, Any]]:
    """The messages of a chat that shows a red PNG and asks about it."""
    from PIL import Image  # matplotlib brings it

    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(file, format="PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Describe the image."}]
    return [{"role": "user", "content": content}]
