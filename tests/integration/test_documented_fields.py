"""Every field of every answer is described in docs/commands.md, and no field is described that does not exist."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.unit.test_docs import read_section
from triage.cases import read_case
from triage.checkpoints import Proposal
from triage.engine.models import find_model
from triage.logs import write_sample
from triage.report import plan_cases, reproduce_cases
from triage.result import Arm, Evidence, Result

ROW = re.compile(r"^\| `([A-Za-z_][\w.*\[\]]*)` \|", re.M)
LOG = """\
E   HW Exception by GPU node-9 (Agent handle: 0x34a5fb20) reason :GPU Hang
RuntimeError: Engine core initialization failed. See root cause above.
FAILED tests/a.py::test_x - assert 1 == 2
"""
# The start of a server, which then stops itself.
HANGS = """
import os, signal
print("INFO 11-23 15:34:50 [model_runner.py:1] Starting to load model x...", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
LEAVES = "import subprocess; subprocess.Popen(['sleep', '60'])"


def list_paths(value: Any, path: str = "") -> Iterator[str]:
    """The fields of an answer: ``a.b`` of an object, ``a[].b`` of the objects in a list."""
    if isinstance(value, dict):
        for name, held in value.items():
            yield f"{path}.{name}".lstrip(".")
            yield from list_paths(held, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for held in value:
            yield from list_paths(held, f"{path}[]")


def is_described(path: str, described: set[str]) -> bool:
    """Itself, a container of what is described, or below a field whose names are free (``dtypes.*``)."""
    parents = [path[: match.start()] for match in re.finditer(r"(?:\[\])?\.", path)]
    free = {f"{parent}{end}.*" for parent in parents for end in ("", "[]")}
    container = any(other.startswith((f"{path}.", f"{path}[]")) for other in described)
    return path in described or bool(free & described) or container


def check(command: str, *answers: Any) -> None:
    described = set(ROW.findall(read_section(command)))
    seen = {path for answer in answers for path in list_paths(answer)}
    assert sorted(path for path in seen if not is_described(path, described)) == [], "not described"
    known = {path.replace("[]", "") for path in seen}
    stale = [d for d in described if d.removesuffix(".*").replace("[]", "") not in known]
    assert sorted(stale) == [], "described, but not there"


def ask(*words: object) -> Any:
    command = [sys.executable, "-m", "triage.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_cases_and_doctor_and_new(tmp_path: Path) -> None:
    check("cases", ask("cases", "--json"))
    check("doctor", ask("doctor", "--json"))
    words = ("--family", "token_count", "--upstream", "https://github.com/a/b/pull/1", "--test", "t.py")
    check("new", ask("new", "mine", *words, "--catalogue", tmp_path, "--json"))


def test_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two captures that differ in every way, and a bisection of them."""
    monkeypatch.setenv("OLD", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "hub" / "models--a--b" / "snapshots" / "c0ffee").mkdir(parents=True)
    first = ask("env", "--out", tmp_path / "a.json", "--json")
    gpu = {"driver": "x", "gpus": [{"name": "g", "arch": "gfx942", "vram_bytes": 1}], "firmware": {"mec": "1"}}
    whole = first | {
        "arguments": ["--a", "1"],
        "gpu": first["gpu"] | gpu | {"details": {"gpu0.x": "1"}},
        "attachments": {"vllm.collect_env": "text"},
        "not_collected": [{"what": "hub", "why": "no reason"}],
        "variables": {**first["variables"], "NEW": "1"},
    }
    del whole["variables"]["OLD"]
    whole["packages"] = {**whole["packages"], "rich": "0"}
    (tmp_path / "b.json").write_text(json.dumps(whole))
    check("env", first, whole)
    check("env diff", ask("env", "diff", tmp_path / "a.json", tmp_path / "b.json", "--json"))
    whole["packages"] = first["packages"]
    (tmp_path / "b.json").write_text(json.dumps(whole))
    words = ("env", "bisect", tmp_path / "a.json", tmp_path / "b.json", "--json", "--", "sh", "-c", 'test -z "$NEW"')
    check("env bisect", ask(*words))


def test_log(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_text(LOG)
    write_sample(tmp_path / "week")  # with retries
    check("log", ask("log", path, "--json"), ask("log", tmp_path / "week", "--json"))


def test_watch(tmp_path: Path) -> None:
    """One that hangs and one that leaves a daemon: together they fill nearly every field."""
    records = []
    for name, code in {"hung": HANGS, "left": LEAVES}.items():
        words = ["watch", "--stall-s", "2", "--out", str(tmp_path / name), "--", sys.executable, "-c", code]
        subprocess.run([sys.executable, "-m", "triage.cli", *words], capture_output=True, check=False)
        records.append(json.loads((tmp_path / name / "hang.json").read_text()))
    check("watch", *records)


def test_verify(tmp_path: Path) -> None:
    code = "import os; assert 'FIXED' in os.environ, 'broken'"
    words = ("--env", "FIXED=1", "--runs", 4, "--revert", "--out", tmp_path / "out", "--json")
    check("verify", ask("verify", *words, "--", sys.executable, "-c", code))


def test_run(tmp_path: Path) -> None:
    """The records of a run that is stopped before it starts, and a whole result."""
    import threading

    stop = threading.Event()
    stop.set()
    reproduce_cases(plan_cases([read_case("gemma3-legacy-keys")]), tmp_path, stop=stop)  # a report of another case
    plans = plan_cases([read_case("e5-token-count")])
    [opened] = reproduce_cases(plans, tmp_path, stop=stop)
    whole = opened.model_copy(
        update={
            "arms": (Arm(name="a", verdict=opened.verdict, cause="c"),),
            "evidence": (Evidence(statement="s", observed="o"),),
            "findings": {"drift": 1},
            "snapshots": {"a": "b"},
        }
    )
    index = json.loads((tmp_path / "index.json").read_text())
    check("run", index, whole.model_dump(mode="json"))
    assert set(Result.model_fields) <= set(whole.model_dump())


@pytest.mark.engine
def test_tokens(tmp_path: Path) -> None:
    two = ("tiny:e5-metaspace", "tiny:e5-whitespace")
    third = tmp_path / "tokenizer.json"
    third.write_bytes((find_model(two[0]) / "tokenizer.json").read_bytes())
    check("tokens", ask("tokens", *two, third, "--text", "Paris. ", "--all", "--json"))


def test_counts_and_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check("counts", ask("counts", "286/156/155/25", "284/154/154/24", "--json"))
    (tmp_path / "models--owner--model" / "snapshots" / ("a" * 40)).mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    check("snapshots", ask("snapshots", "--json"))


@pytest.mark.engine
def test_keys(tmp_path: Path) -> None:
    key = "vision_tower.vision_model.embeddings.patch_embedding.weight"
    rule = r"^vision_tower\.vision_model\.=vision_tower."
    against = ask(
        "keys", "tiny:gemma3-legacy", "--against", "tiny:gemma3-new", "--trace", key, "--rule", rule, "--json"
    )
    suggested = ask("keys", "tiny:gemma3-legacy", "--against", "tiny:gemma3-new", "--json")
    model = ask("keys", "tiny:gemma3-legacy", "--json")
    for name, shape in {"narrow": (2, 3), "wide": (2, 4)}.items():
        save_file({"a.weight": np.zeros(shape, np.float32)}, tmp_path / f"{name}.safetensors")
    other = ask("keys", tmp_path / "narrow.safetensors", "--against", tmp_path / "wide.safetensors", "--json")
    check("keys", against, suggested, model, other | {"suggested_rules": [{"note": "x"}]} | COSTLY)


# What takes an engine start, or minutes of trials on other architectures.
COSTLY = {
    "confirmed": dict.fromkeys(("answered", "refused_keys", "error", "startup_s")),
    "impact": [{"architecture": "x"}],
    "proposal": dict.fromkeys(Proposal.__dataclass_fields__),
    "with_suggested_rules": {"matched": 1},
}


@pytest.mark.engine
def test_plan() -> None:
    words = ("plan", "tiny:qwen25vl", "--limit-mm-per-prompt", '{"image": 1}', "--suggest", "image=1", "--json")
    check("plan", ask(*words))


@pytest.mark.engine
def test_matrix() -> None:
    check("matrix", ask("matrix", "tiny:gemma3-new", "--json"))
