"""Logs with a label: what CI would have written around each public failure of ``data/*.toml``, and logs that passed.

Everything but the lines of the data files is made here, from a seed: times, colours, groups, servers, other tests.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
ROOT_FREE_TESTS = (
    "basic_correctness/test_basic_correctness.py::test_models[5-hf-model{}]",
    "entrypoints/openai/test_chat.py::test_no_logprobs_chat[model-{}]",
    "v1/core/test_scheduler.py::test_schedule[prefix-{}]",
    "models/language/pooling/test_embedding.py::test_models[model-{}]",
    "kernels/attention/test_attention.py::test_paged_attention[{}-dtype0]",
)
GROUPS = (
    "AMD: {label} (mi300_1)",
    "mi355_1: {label}",
    ":amd: (MI355 DPX) {label} Shard {n}",
    "AMD: {label} (mi325_8)",
)
LABELS = ("Language Models Test (Extended Pooling)", "V1 Sample + Logits", "Entrypoints Integration (API Server 1)")
NOISE = (
    "INFO 11-20 {a:02d}:{b:02d}:07 [gpu_model_runner.py:2602] Starting to load model facebook/opt-125m...",
    "INFO 11-20 {a:02d}:{b:02d}:08 [loggers.py:123] Engine 000: Avg throughput: {b}.0 tokens/s, Running: {a} reqs",
    "Loading safetensors checkpoint shards:  {a}% Completed | 21/46 [00:40<00:45,  1.83s/it]",
    "WARNING 11-20 {a:02d}:{b:02d}:09 [rocm.py:29] aiter is not installed; falling back",
)


@dataclass(frozen=True, kw_only=True)
class LabelledLog:
    """A log as bytes, and what is to be found in it: nothing, or one failure."""

    id: str
    data: bytes
    family: str | None
    infra: bool = False
    source: str = ""
    test: str | None = None
    job: str = ""
    shape: str = ""


@dataclass
class Writer:
    """Writes lines as the agent, the terminal and vLLM would."""

    rng: random.Random
    stamp: str
    colour: bool
    crlf: bool = False
    lines: list[str] = field(default_factory=list)
    clock: int = 0

    def write(self, *lines: str) -> None:
        self.lines += lines

    def noise(self, count: int) -> None:
        for _ in range(count):
            self.write(self.rng.choice(NOISE).format(a=self.rng.randrange(60), b=self.rng.randrange(60)))

    def paint(self, code: int, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def rule(self, char: str, title: str) -> str:
        side = char * max(1, (78 - len(title)) // 2)
        return f"{side} {title} {side}"

    def encode(self) -> bytes:
        ended = "\r\n" if self.crlf else "\n"
        return "".join(f"{self._stamp()}{line}{ended}" for line in self.lines).encode()

    def _stamp(self) -> str:
        self.clock += self.rng.randrange(3)
        hours, rest = divmod(self.clock, 3600)
        if self.stamp == "bracket":
            return f"[2026-04-15T{10 + hours:02d}:{rest // 60:02d}:{rest % 60:02d}Z] "
        return f"\x1b_bk;t={1776278696485 + self.clock * 1000}\x07" if self.stamp == "inline" else ""


def read_entries(name: str) -> list[dict[str, Any]]:
    """The entries of ``seen``, ``held_out``, ``late`` or ``passing``."""
    return tomllib.loads((DATA / f"{name}.toml").read_text())["failure" if name != "passing" else "passing"]


def make_failures(name: str) -> Iterator[LabelledLog]:
    """One log for each entry of a data file."""
    for entry in read_entries(name):
        yield make_failure(entry)


def make_failure(entry: dict[str, Any], *, salt: str = "") -> LabelledLog:
    """The log of one entry; ``salt`` makes another run of it, with other times, addresses and tests around."""
    rng = random.Random(entry["id"] + salt)
    writer = _open(rng)
    job = _open_group(writer)
    test = entry.get("test") or rng.choice(ROOT_FREE_TESTS).format(f"r{rng.randrange(9)}")
    names_test = _SHAPES[entry["shape"]](writer, test, [*map(str, entry["lines"])], entry.get("exit"))
    named = test.split("::")[0] if entry["shape"] == "collect" else test if names_test else None
    fields = {key: entry[key] for key in ("id", "family", "infra", "source", "shape")}
    return LabelledLog(data=writer.encode(), job=job, test=named, **fields)


def make_passing() -> Iterator[LabelledLog]:
    """Logs of jobs that passed, whatever they say on the way."""
    for entry in read_entries("passing"):
        rng = random.Random(entry["id"])
        writer = _open(rng)
        _open_group(writer)
        tests = _start_session(writer, more=rng.randrange(4))
        for test in tests:
            writer.write(f"{test} {writer.paint(32, 'PASSED')} [ 50%]")
        writer.write(*entry["lines"])
        if not entry.get("bare"):
            writer.write(writer.rule("=", f"{len(tests) + 1} passed, {entry.get('counts', '2 warnings')} in 12.34s"))
        if rng.random() < 0.3:
            writer.write("🚨 Error: The command exited with status 0" if rng.random() < 0.1 else "--- Cleaning up")
        yield LabelledLog(id=entry["id"], data=writer.encode(), family=None)


def _open(rng: random.Random) -> Writer:
    stamp = rng.choice(("bracket", "bracket", "inline", "none"))
    return Writer(rng=rng, stamp=stamp, colour=rng.random() < 0.4, crlf=rng.random() < 0.1)


def _open_group(writer: Writer) -> str:
    label = writer.rng.choice(LABELS)
    job = writer.rng.choice(GROUPS).format(label=label, n=writer.rng.randrange(1, 5))
    slug = label.lower().replace(" ", "-").replace("+", "-")
    writer.write(
        f"{writer.rng.choice(('---', '+++', '~~~'))} {job}", "--- Pulling container", "Status: Image is up to date"
    )
    writer.write(
        f"+ (command rocm-smi || true) && export VLLM_TEST_GROUP_NAME=mi300_1-{slug} && "
        "cd /vllm-workspace/tests && pytest -v -s models/language/pooling"
    )
    return job


def _start_session(writer: Writer, *, more: int = 2) -> list[str]:
    tests = [writer.rng.choice(ROOT_FREE_TESTS).format(n) for n in range(more)]
    writer.write(
        writer.rule("=", "test session starts"), "platform linux -- Python 3.12.12, pytest-8.4.2, pluggy-1.6.0"
    )
    writer.write(f"collecting ... collected {more + 1} items", "")
    return tests


def _pass_some(writer: Writer) -> None:
    for test in _start_session(writer, more=writer.rng.randrange(1, 4)):
        writer.write(f"{test} {writer.paint(32, 'PASSED')}")
        writer.noise(2)


def _fail(writer: Writer, test: str, evidence: Sequence[str], *, word: str = "FAILED") -> None:
    """The test's own section, the short summary and the last line."""
    name = test.rsplit("::", maxsplit=1)[-1]
    title = name if word == "FAILED" else f"ERROR at setup of {name}"
    writer.write("", writer.rule("=", "FAILURES" if word == "FAILED" else "ERRORS"), writer.rule("_", title), "")
    writer.write(f"    def {name.split('[')[0]}(vllm_runner):", ">       run(vllm_runner)", "")
    for line in evidence:
        writer.write(f"{writer.paint(31, f'E       {line}')}")
    kind = re.split("[: ]", evidence[0])[0] if evidence else "Error"
    writer.write("", f"{test.split('::', maxsplit=1)[0]}:88: {kind}")
    writer.write(writer.rule("=", "short test summary info"))
    message = evidence[0].strip() if evidence else ""
    writer.write(f"{writer.paint(31, word)} {test} - {message[:150]}")
    counts = "1 failed" if word == "FAILED" else "1 error"
    writer.write(writer.rule("=", f"{counts}, 2 passed, 5 warnings in 63.02s (0:01:03)"))


def _exit(writer: Writer, code: int) -> None:
    writer.write("^^^ +++", f"🚨 Error: The command exited with status {code}")


def _process(writer: Writer, lines: Sequence[str], *, name: str = "EngineCore") -> None:
    """Lines as a process of the engine logs them: with its name, its pid and a place."""
    pid = writer.rng.randrange(300, 99999)
    place = f"ERROR 11-20 10:{writer.rng.randrange(60):02d}:11 [core.py:{writer.rng.randrange(700, 1300)}]"
    if not any(line.lstrip().startswith(("HW ", "Memory access", ":0:", "amdgpu", "[")) for line in lines):
        writer.write(f"({name} pid={pid}) {place} EngineCore failed to start.")
        writer.write(f"({name} pid={pid}) {place} Traceback (most recent call last):")
        writer.write(
            f'({name} pid={pid}) {place}   File "/usr/lib/python3.12/vllm/v1/engine/core.py", line 708, in run'
        )
        writer.write(*(f"({name} pid={pid}) {place} {line}" for line in lines))
    else:
        writer.write(*lines)


def _shape_assert(writer: Writer, test: str, lines: Sequence[str], code: int | None) -> bool:
    _pass_some(writer)
    writer.write(f"{test} {writer.paint(31, 'FAILED')}")
    _fail(writer, test, lines)
    _exit(writer, code or 1)
    return True


def _shape_setup(writer: Writer, test: str, lines: Sequence[str], code: int | None) -> bool:
    _pass_some(writer)
    writer.write("Launching RemoteOpenAIServer with: vllm serve facebook/opt-125m --max-model-len 2048")
    writer.write(f"{test} {writer.paint(31, 'ERROR')}")
    _fail(writer, test, lines, word="ERROR")
    _exit(writer, code or 1)
    return True


def _shape_engine(writer: Writer, test: str, lines: Sequence[str], code: int | None) -> bool:
    _pass_some(writer)
    writer.write(f"{test} ")
    writer.noise(3)
    _process(writer, lines)
    writer.write(writer.paint(31, "FAILED"))
    failed = (
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
    )
    _fail(writer, test, [failed])
    _exit(writer, code or 1)
    return True


def _shape_dead(writer: Writer, test: str, lines: Sequence[str], code: int | None) -> bool:
    _pass_some(writer)
    writer.write(f"{test} ")
    writer.noise(3)
    _process(writer, lines)
    writer.write(writer.paint(31, "FAILED"))
    dead = "EngineCore encountered an issue. See stack trace (above) for the root cause."
    _fail(writer, test, [f"vllm.v1.engine.exceptions.EngineDeadError: {dead}"])
    _exit(writer, code or 1)
    return True


def _shape_server(writer: Writer, test: str, lines: Sequence[str], code: int | None) -> bool:
    _pass_some(writer)
    writer.write(f"{test} Launching RemoteOpenAIServer with: vllm serve facebook/opt-125m --max-model-len 2048")
    writer.noise(3)
    _process(writer, lines, name="APIServer")
    writer.write(writer.paint(31, "ERROR"))
    _fail(writer, test, ["RuntimeError: Server exited unexpectedly."], word="ERROR")
    _exit(writer, code or 1)
    return True


def _shape_client(writer: Writer, test: str, lines: Sequence[str], code: int | None) -> bool:
    _pass_some(writer)
    writer.write(f"{test} ")
    _process(writer, lines)
    writer.write(writer.paint(31, "FAILED"))
    _fail(writer, test, ["openai.APIConnectionError: Connection error."])
    _exit(writer, code or 1)
    return True


def _shape_crash(writer: Writer, test: str, lines: Sequence[str], code: int | None) -> bool:
    _pass_some(writer)
    writer.write(f"{test} ")
    writer.noise(2)
    writer.write(*lines, "Fatal Python error: Aborted", "", "Thread 0x00007f2a53193000 (most recent call first):")
    writer.write('  File "/usr/lib/python3.12/threading.py", line 359 in wait', "Aborted (core dumped)")
    _exit(writer, code or 134)
    return True


def _shape_collect(writer: Writer, test: str, lines: Sequence[str], code: int | None) -> bool:
    path = test.split("::", maxsplit=1)[0]
    writer.write(writer.rule("=", "test session starts"), "collecting ... collected 12 items / 1 error", "")
    writer.write(writer.rule("=", "ERRORS"), writer.rule("_", f"ERROR collecting {path}"))
    writer.write(f"ImportError while importing test module '/vllm-workspace/tests/{path}'.", "Traceback:")
    writer.write("/usr/lib/python3.12/importlib/__init__.py:90: in import_module", f"{path}:7: in <module>")
    writer.write(*(f"E   {line}" for line in lines))
    writer.write(writer.rule("=", "short test summary info"), f"ERROR {path}")
    writer.write("!!!!!!!!!!!!!!!!!!!! Interrupted: 1 error during collection !!!!!!!!!!!!!!!!!!!!")
    writer.write(writer.rule("=", "1 error in 8.11s"))
    _exit(writer, code or 2)
    return False


def _shape_job(writer: Writer, _: str, lines: Sequence[str], code: int | None) -> bool:
    writer.noise(2)
    writer.write(*lines)
    _exit(writer, 1 if code is None else code)
    return False


def _shape_pull(writer: Writer, _: str, lines: Sequence[str], code: int | None) -> bool:
    writer.write("--- Pulling container", "a1671807670e: Pulling fs layer", "a1671807670e: Verifying Checksum", *lines)
    _exit(writer, 1 if code is None else code)
    return False


def _shape_cut(writer: Writer, _: str, lines: Sequence[str], code: int | None) -> bool:
    for test in _start_session(writer, more=6):
        writer.write(f"{test} {writer.paint(32, 'PASSED')} [ 40%]")
        writer.noise(1)
    writer.write(*lines)
    if code is not None:
        _exit(writer, code)
    return False


def _shape_truncated(writer: Writer, _: str, lines: Sequence[str], code: int | None) -> bool:
    writer.stamp = "bracket"
    return _shape_cut(writer, _, lines, None)


def _shape_dump(writer: Writer, test: str, lines: Sequence[str], code: int | None) -> bool:
    _pass_some(writer)
    writer.write(f"{test} ")
    writer.noise(2)
    writer.write(*lines)
    _exit(writer, code or 137)
    return True


def _shape_empty(writer: Writer, _: str, lines: Sequence[str], code: int | None) -> bool:
    writer.write(
        writer.rule("=", "test session starts"), "platform linux -- Python 3.12.12, pytest-8.4.2, pluggy-1.6.0"
    )
    writer.write(*lines, "", writer.rule("=", "no tests ran in 0.12s"))
    if code:
        _exit(writer, code)
    return False


_SHAPES = {
    "assert": _shape_assert,
    "setup": _shape_setup,
    "engine": _shape_engine,
    "dead": _shape_dead,
    "server": _shape_server,
    "client": _shape_client,
    "crash": _shape_crash,
    "collect": _shape_collect,
    "job": _shape_job,
    "pull": _shape_pull,
    "cut": _shape_cut,
    "truncated": _shape_truncated,
    "dump": _shape_dump,
    "empty": _shape_empty,
}
