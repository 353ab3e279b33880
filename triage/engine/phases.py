"""The phases of vLLM's start-up, told from its log line by line; and the lines that say it only waits.

Light on purpose: a watch reads every line of a healthy command with it.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Phase(StrEnum):
    """A stretch of vLLM's start-up, in the order in which they come."""

    IMPORT = "import"  # Python and vLLM's modules, before the first log line
    CONFIG = "config"  # arguments, model config, processor
    WORKERS = "workers"  # the engine and worker processes start and import in turn
    WEIGHTS = "weights"
    PROFILE = "profile"  # dummy inputs through the encoder, then through the language model
    KV_CACHE = "kv_cache"
    GRAPH_CAPTURE = "graph_capture"  # on a GPU only
    READY = "ready"
    REQUEST = "request"  # the first request has been answered


# The first line of each phase, from vLLM 0.18 to 0.33, on the CPU and on a GPU.
_MARKERS: tuple[tuple[Phase, str], ...] = (
    (Phase.WORKERS, r"Multi-modal warmup completed|Initializing a V1 LLM engine"),
    (Phase.WEIGHTS, r"Starting to load model "),
    (Phase.PROFILE, r"Encoder cache will be initialized|Warming up model|Model loading took "),
    (Phase.KV_CACHE, r"GiB for KV cache on node|Available KV cache memory|KV cache size: "),
    (Phase.GRAPH_CAPTURE, r"Capturing (?:CUDA|HIP) graphs?"),
    (Phase.READY, r"Starting vLLM (?:API )?server |Application startup complete"),
    (Phase.REQUEST, r'"POST /\S* HTTP/[\d.]+" 200\b'),
)
_AGAIN = r"non-default args: "  # an engine prints its arguments once, so a second such line is another engine
_STAMPED = r"\b(?:DEBUG|INFO|WARNING|ERROR) \d\d-\d\d \d\d:\d\d:\d\d \["

# What vLLM prints while nothing moves. A line that stands here is no sign of life.
_WAITING: tuple[str, ...] = (
    # distributed/device_communicators/shm_broadcast.py: every 60 s, by every reader and writer of a stuck queue
    r"No available (?:shared memory broadcast )?block found",
    # v1/engine/utils.py, wait_for_engine_startup: every 10 s (debug)
    r"Waiting for \d+ local, \d+ remote core engine proc",
    # v1/engine/core.py (debug)
    r"EngineCore waiting for work",
    r"Waiting for READY message from DP Coordinator",
    # v1/executor/ray_utils.py: at growing intervals
    r"Waiting for creating a placement group",
    # entrypoints/launchers/dp_supervisor.py
    r"Waiting for \d+ seconds before next (?:probe|monitor)",
    # v1/metrics/loggers.py: every 10 s, also by an engine that is stuck in a step
    r"Avg prompt throughput: 0\.0 tokens/s, Avg generation throughput: 0\.0 tokens/s",
    # the access log of whoever asks whether the server is well, or already there
    r'"GET /(?:health|ping|metrics|load|v1/models) HTTP/[\d.]+"',
)

_PHASES = tuple((phase, re.compile(marker)) for phase, marker in _MARKERS)
_RESTART = re.compile(_AGAIN)
_STAMP = re.compile(_STAMPED)
_WAITS = re.compile("|".join(_WAITING))
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # a Jupyter kernel sets FORCE_COLOR, and vLLM obeys it
_ORDER = tuple(Phase)

TELLING = re.compile("|".join((*(marker for _, marker in _MARKERS), _AGAIN, *_WAITING)).encode())
"""Matches bytes that hold a line which `PhaseReader` or `is_waiting` cares for; the first stamp aside."""

FIRST = re.compile(rb"\d\d-\d\d \d\d:\d\d:\d\d")
"""Matches bytes that may hold a stamped line of vLLM, coloured or not: the first one begins the phases."""


def strip_colour(line: str) -> str:
    """A line without what a terminal would act on.

    >>> strip_colour("\\x1b[1;36m(Worker pid=3)\\x1b[0;0m INFO\\r")
    '(Worker pid=3) INFO'
    """
    return _COLOUR.sub("", line).strip()


def is_waiting(line: str) -> bool:
    """Whether vLLM says in this line that it waits: such a line is printed again and again while nothing moves.

    >>> is_waiting("INFO 11-23 15:26:01 [shm_broadcast.py:681] No available shared memory broadcast block found in …")
    True
    >>> is_waiting("INFO 11-23 15:26:01 [core.py:1] Starting to load model m...")
    False
    """
    return _WAITS.search(line) is not None


class PhaseReader:
    """Reads the lines of a log one by one, and says which phases each of them begins.

    Several processes write, so a phase only ever moves on, until an engine prints its arguments anew: the next
    test of the same run, say. Nothing counts before the first line that vLLM has stamped.

    >>> reader = PhaseReader()
    >>> reader.read("INFO 11-23 15:26:01 [api_utils.py:286] non-default args: {}")
    (<Phase.CONFIG: 'config'>,)
    >>> reader.read("Encoder cache will be initialized with a budget of 3840 tokens"), reader.phase.value
    ((<Phase.PROFILE: 'profile'>,), 'profile')
    >>> reader.read("INFO 11-23 15:26:09 [cpu_model_runner.py:68] Starting to load model m...")
    ()
    """

    def __init__(self) -> None:
        self.phase: Phase | None = None

    def read(self, line: str) -> tuple[Phase, ...]:
        """The phases that begin with this line, in order; colours are taken off already (`strip_colour`)."""
        if self.phase is None:
            if not _STAMP.search(line):
                return ()
            begun = [Phase.CONFIG]
        elif _RESTART.search(line) and self.phase is not Phase.CONFIG:
            begun = [Phase.CONFIG]
        else:
            begun = []
        now = _ORDER.index(begun[-1] if begun else self.phase or Phase.IMPORT)
        for phase, marker in _PHASES:
            if marker.search(line) and _ORDER.index(phase) > now:
                begun.append(phase)
                now = _ORDER.index(phase)
        if begun:
            self.phase = begun[-1]
        return tuple(begun)
