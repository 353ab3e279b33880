"""A real vLLM server: it answers, it ends whole, and when it cannot start it says why."""

import json
import shutil
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from triage.engine.models import find_model
from triage.engine.server import _answers, _quote_root, start_server
from triage.engine.server_log import LOGS_VARIABLE
from triage.errors import CheckpointError, EngineError, InputError

ARGS = ("--runner", "pooling", "--enforce-eager", "--max-model-len", "512")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the tiny e5 that a test may break."""
    return Path(shutil.copytree(find_model("tiny:e5-metaspace"), tmp_path / "model"))


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.mark.engine
def test_a_stopped_server_leaves_no_process_behind(model):
    before = set(descendants())
    with start_server(model, args=ARGS) as server:
        tree = [child for child in descendants() if child not in before]
        assert server.rerank("Where?", ["Here."]).prompt_tokens > 0
        assert len(tree) >= 3  # the guard, the API server and at least the engine core
    assert not [child for child in tree if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert "Starting vLLM server" in server.read_log()


@pytest.mark.engine
def test_a_killed_api_server_takes_its_engine_core_with_it(model):
    before = set(descendants())
    with start_server(model, args=ARGS) as server:
        tree = [child for child in descendants() if child not in before]
        api_server = next(child for child in tree if "-m" in child.cmdline()[:2])
        api_server.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 60
        while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in tree):
            assert time.monotonic() < deadline, "something of the server outlived it"
            time.sleep(0.1)
        with pytest.raises(EngineError, match="did not answer /rerank"):
            server.rerank("Where?", ["Here."])


@pytest.mark.engine
def test_the_server_counts_what_its_own_tokenizer_makes(serve):
    server = serve("tiny:e5-metaspace", *ARGS)
    assert server.embed(["it is Paris"]).prompt_tokens == len(server.tokenize("it is Paris"))


@pytest.mark.engine
def test_a_request_that_the_server_refuses_is_quoted_in_its_own_words(serve):
    server = serve("tiny:e5-metaspace", *ARGS)
    with pytest.raises(EngineError, match=r"answered /rerank with 400: .*max_tokens_per_query"):
        server.rerank("Where?", ["Here."], max_tokens_per_query=10**6)


@pytest.mark.engine
def test_a_server_that_dies_while_starting_is_quoted_and_leaves_nothing(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"architectures": ["NoSuchModel"], "model_type": "nope"}))
    before = set(descendants())
    with pytest.raises(EngineError, match=r"ended with exit code 1 while it started.*model type `nope`") as caught:
        start_server(model, args=ARGS)
    assert "log" in caught.value.hint
    assert set(descendants()) <= before


def test_a_server_whose_guard_is_killed_is_not_waited_for(model):
    before = set(descendants())  # the guards of the servers that the session shares among them

    def find_guards() -> list[psutil.Process]:
        return [child for child in descendants() if child not in before and "_guard.py" in " ".join(child.cmdline())]

    def kill_guard() -> None:
        while not (guards := find_guards()):
            time.sleep(0.05)
        guards[0].kill()

    threading.Thread(target=kill_guard, daemon=True).start()
    with pytest.raises(EngineError, match="was killed with its guard while it started"):
        start_server(model, args=ARGS, ready_timeout_s=60)
    assert set(descendants()) <= before


def test_only_the_end_of_a_log_is_quoted_and_no_line_of_it_whole(tmp_path):
    log = tmp_path / "server.log"
    log.write_text("\n".join(["first", *("config=" + "word, " * 500 for _ in range(9)), "last"]))
    quoted = _quote_root(log)
    assert quoted.endswith(" / last")
    assert "first" not in quoted
    assert len(quoted) < 700


def test_a_server_that_is_not_ready_in_time_is_ended(model, tmp_path):
    log_path = tmp_path / "logs" / "server.log"
    before = set(descendants())
    with pytest.raises(EngineError, match=r"did not become ready within 0\.5 s"):
        start_server(model, args=ARGS, ready_timeout_s=0.5, log_path=log_path)
    assert log_path.exists()
    assert set(descendants()) <= before


def test_a_port_that_is_taken_is_refused_before_anything_starts(model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match=r"Port \d+ of 127\.0\.0\.1 cannot be used"):
            start_server(model, port=taken.getsockname()[1])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "has no config.json"),
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_broken_model_folder_is_refused_with_its_path(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        start_server(tmp_path)
    assert str(tmp_path) in caught.value.message


def test_weights_that_are_cut_are_refused_before_anything_starts(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is no whole safetensors file: .*not fully covered"):
        start_server(model, args=ARGS)


@pytest.mark.parametrize("body", [b"not JSON", b"[]", b"{}", b'{"data": 1}', b'{"data": [{"id": "another"}]}'])
def test_whoever_else_answers_on_the_port_is_not_taken_for_the_server(body):
    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as foreign:
        threading.Thread(target=foreign.serve_forever, daemon=True).start()
        with httpx.Client(base_url=f"http://127.0.0.1:{foreign.server_port}") as client:
            assert not _answers(client, "ours")
        foreign.shutdown()


def test_the_log_of_a_server_lies_where_the_run_wants_it(model, tmp_path, monkeypatch):
    monkeypatch.setenv(LOGS_VARIABLE, str(tmp_path / "report" / "logs"))
    with pytest.raises(EngineError) as caught:
        start_server(model, args=ARGS, ready_timeout_s=0.1)
    [log] = (tmp_path / "report" / "logs").iterdir()
    assert str(log) in caught.value.hint


def test_a_missing_model_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not a model folder"):
        start_server(tmp_path / "absent")


def test_a_model_that_the_hub_cache_does_not_hold_is_refused_without_asking_the_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="neither a folder nor in the local Hub cache") as caught:
        find_model("intfloat/multilingual-e5-small@614241f")
    assert "hf download intfloat/multilingual-e5-small --revision 614241f" in caught.value.hint


def test_the_beginning_of_a_commit_finds_its_snapshot_in_the_hub_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commits = ("614241f622f53c4eeff9890bdc4f31cfecc418b3", "614241f7" + "0" * 32)
    snapshots = [tmp_path / "models--owner--name" / "snapshots" / commit for commit in commits]
    snapshots[0].mkdir(parents=True)
    assert find_model("owner/name@614241f").name == commits[0]
    snapshots[1].mkdir()
    with pytest.raises(CheckpointError, match="neither a folder nor in the local Hub cache"):
        find_model("owner/name@614241f")  # two begin so
