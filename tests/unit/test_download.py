"""`--download`, against a server that speaks as much of the Hub's protocol as huggingface_hub asks for."""

import json
import os
import subprocess
import sys
import threading
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

REPO, COMMIT, OLD = "owner/model", "c" * 40, "0" * 40
LOWER = {"type": "Lowercase"}


def definition(**sections):
    model = {"type": "WordLevel", "vocab": {"a": 0, "?": 1}, "unk_token": "?"}
    empty = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model} | dict.fromkeys(empty) | sections).encode()


class Hub(ThreadingHTTPServer):
    """One model at one revision. ``asked`` are the paths of all requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {
            "config.json": b'{"vocab_size": 2}',
            "vocab.txt": b"a\n?\n",
            "tokenizer.json": definition(normalizer=LOWER),
            "model.safetensors": b"weights",
            "own.py": b"code",
        }
        self.gated = self.unheard = False
        self.dies_at: str | None = None
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        files = self.server.files
        kind, name = path.split("/")[5:7] if path.startswith("/api/models/") else ("file", "")
        if self.server.unheard:
            self.refuse(401, "RepoNotFound")
        elif kind == "revision" and name not in ("main", COMMIT):
            self.refuse(404, "RevisionNotFound")
        elif kind == "revision":
            self.send(json.dumps({"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}).encode())
        elif kind == "tree":
            rows = [{"type": "file", "path": f, "size": len(c), "oid": sha1(c).hexdigest()} for f, c in files.items()]
            self.send(json.dumps(rows).encode())
        elif self.server.gated:
            self.refuse(401, "GatedRepo")
        else:
            self.send_file(path.removeprefix(f"/{REPO}/resolve/{COMMIT}/"))

    def send_file(self, name):
        if name not in self.server.files:  # huggingface_hub asks for more than it needs
            self.refuse(404, "EntryNotFound")
            return
        content = self.server.files[name]
        if name == self.server.dies_at and self.command == "GET":
            self.send(content, part=len(content) // 2, etag=sha1(content).hexdigest())
            self.close_connection = True
            return
        self.send(content, etag=sha1(content).hexdigest())

    def send(self, content, *, part=None, **headers):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        for key, value in headers.items():
            self.send_header(key, f'"{value}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:part])

    def refuse(self, code, reason):
        self.send_response(code)
        self.send_header("X-Error-Code", reason)
        self.send_header("X-Error-Message", f"words of the Hub about {reason}")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub():
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path):
    """A Hub cache that holds another revision of the model already, and says that it is `main`."""
    folder = tmp_path / "hub" / "models--owner--model"
    blob = folder / "blobs" / "f"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(definition())
    (folder / "snapshots" / OLD).mkdir(parents=True)
    (folder / "snapshots" / OLD / "tokenizer.json").symlink_to("../../blobs/f")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(OLD)
    return tmp_path / "hub"


def triage(hub, cache, *arguments):
    command = [sys.executable, "-m", "triage.cli", "tokens", *arguments, "--text", "A"]
    places = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_CACHE": str(cache), "no_proxy": "127.0.0.1"}
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))} | places
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)


def list_files(cache):
    """What every revision of the cache holds, and what its branches point at."""
    folder = cache / "models--owner--model"
    held = sorted(str(path.relative_to(folder)) for path in (folder / "snapshots").rglob("*") if path.is_file())
    refs = {path.name: path.read_text() for path in (folder / "refs").glob("*")}
    return held, refs


def test_a_download_lands_in_the_cache_and_is_used_without_a_network_afterwards(hub, tmp_path):
    cache = tmp_path / "fresh"
    fetched = triage(hub, cache, REPO, "tiny:e5-metaspace", "--download", "--json")
    assert fetched.returncode == 0, fetched.stderr
    assert [t["a_count"] for t in json.loads(fetched.stdout)["texts"]] == [1]
    names = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert names == {"config.json", "tokenizer.json", "vocab.txt"}  # no weights, no code
    asked = len(hub.asked)
    for arguments in ((REPO, "--download"), (f"{REPO}@{COMMIT[:7]}",)):
        again = triage(hub, cache, arguments[0], "tiny:e5-metaspace", *arguments[1:], "--json")
        assert json.loads(again.stdout)["texts"] == json.loads(fetched.stdout)["texts"]
    assert len(hub.asked) == asked


def test_two_revisions_one_held_and_one_fetched_are_compared(hub, cache):
    ended = triage(hub, cache, f"{REPO}@{OLD}", f"{REPO}@{COMMIT}", "--download", "--json")
    assert json.loads(ended.stdout)["stages"] == ["normalizer"], ended.stderr


@pytest.mark.parametrize(
    ("trouble", "revision", "sentence"),
    [
        ({}, "v9", "The Hub has owner/model, but no revision v9."),
        ({"gated": True}, COMMIT, "The Hub does not give out owner/model to you."),
        ({"unheard": True}, COMMIT, "The Hub has no model owner/model, or does not show it to you."),
        ({"dies_at": "tokenizer.json"}, COMMIT, f"owner/model@{COMMIT} could not be fetched from the Hub"),
    ],
)
def test_a_download_that_fails_is_one_sentence_and_leaves_the_cache_as_it_was(hub, cache, trouble, revision, sentence):
    vars(hub).update(trouble)
    before = list_files(cache)
    ended = triage(hub, cache, f"{REPO}@{revision}", REPO, "--download")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert list_files(cache) == before
    held = triage(hub, cache, REPO, f"{REPO}@{OLD[:8]}")  # what was there is found as before
    assert held.returncode == 0, held.stderr


def test_a_branch_does_not_move_before_its_files_are_there(hub, cache):
    (cache / "models--owner--model" / "snapshots" / OLD / "tokenizer.json").unlink()
    hub.dies_at = "tokenizer.json"
    before = list_files(cache)
    assert triage(hub, cache, REPO, "tiny:e5-metaspace", "--download").returncode == 2
    assert list_files(cache) == before
    hub.dies_at = None
    assert triage(hub, cache, REPO, "tiny:e5-metaspace", "--download").returncode == 0
    assert list_files(cache)[1] == {"main": COMMIT}
