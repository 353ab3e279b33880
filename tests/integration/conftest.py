"""Real vLLM servers, one for each model and set of arguments, shared by the whole session."""

from collections.abc import Callable, Iterator

import pytest

from triage.engine.models import find_model
from triage.engine.server import Server, start_server


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """``serve("tiny:e5-metaspace", "--runner", "pooling")``: starts it on first use, ends it with the session."""
    running: dict[tuple[str, ...], Server] = {}

    def start(reference: str, *args: str) -> Server:
        key = (reference, *args)
        if key not in running:
            log_path = tmp_path_factory.mktemp("server") / "server.log"
            running[key] = start_server(find_model(reference), args=args, log_path=log_path)
        return running[key]

    yield start
    for server in running.values():
        server.stop()
