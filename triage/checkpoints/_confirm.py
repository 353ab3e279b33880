"""Has the real engine load a checkpoint, so that a verdict rests on more than keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from triage.engine.server import start_server
from triage.engine.weights import ModelImpl
from triage.errors import EngineError

_PROMPT = "The capital of France is"
_BACKEND_LINE = "Using Transformers modeling backend"
# What vLLM's loaders say when keys, and nothing else, are in the way.
_KEY_ERRORS = ("There is no module or parameter named", "were not initialized from checkpoint", "Attempted to load")


@dataclass(frozen=True, kw_only=True)
class EngineStart:
    """How a real start on a checkpoint went. ``error`` None means: it loaded, and it answered a request.

    ``transformers_backend`` is whether the log says that vLLM's Transformers backend was used: only that one runs the
    mapper that is under suspicion.
    """

    error: str | None
    startup_s: float | None = None
    completion_tokens: int = 0
    transformers_backend: bool = False

    @property
    def answered(self) -> bool:
        """Whether the engine loaded the checkpoint and produced tokens with it."""
        return self.error is None and self.completion_tokens > 0

    @property
    def refused_keys(self) -> bool:
        """Whether it was the checkpoint's keys that stopped it.

        >>> EngineStart(error="ValueError: There is no module or parameter named 'x' in Y").refused_keys
        True
        """
        return self.error is not None and any(text in self.error for text in _KEY_ERRORS)


def start_engine(
    checkpoint: Path,
    *,
    model_impl: ModelImpl = ModelImpl.TRANSFORMERS,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout_s: float = 300.0,
) -> EngineStart:
    """Starts the installed vLLM on a checkpoint with one of its implementations, and asks for a few tokens.

    ``args`` are vLLM's own, after ``--model-impl``. A start that fails is an answer, not an exception;
    the engine is stopped in any case. Raises `CheckpointError` for a folder that is no model.

    ::

        start_engine(find_model("tiny:gemma3-legacy"), args=["--enforce-eager"]).answered
    """
    try:
        with start_server(
            checkpoint, args=["--model-impl", model_impl.value, *args], env=env, ready_timeout_s=timeout_s
        ) as server:
            answer = server.post("/v1/completions", {"prompt": _PROMPT, "max_tokens": 4, "temperature": 0})
            return EngineStart(
                error=None,
                startup_s=server.startup_s,
                completion_tokens=answer["usage"]["completion_tokens"],
                transformers_backend=_BACKEND_LINE in server.read_log(),
            )
    except EngineError as error:
        return EngineStart(error=error.message)
