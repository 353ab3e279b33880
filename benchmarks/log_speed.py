"""A 100 MB log takes no longer than ripgrep with the same 20 patterns, and an eighth of `re` line by line."""

import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks._measurement import Measurement, summarise
from triage.logs import Rule, Rules, read_log, read_rules

_PATTERNS = 20
_LINES = (
    "(EngineCore pid={p}) INFO 11-20 10:{a:02d}:{b:02d} [gpu_model_runner.py:2602] Starting to load model opt-{p}",
    "(APIServer pid={p}) INFO 11-20 10:{a:02d}:{b:02d} [loggers.py:123] Engine 000: prompt throughput {a}.0 tokens/s",
    "models/language/pooling/test_embedding.py::test_models[model-{p}] PASSED [ {b}%]",
    "WARNING 11-20 10:{a:02d}:{b:02d} [rocm.py:29] aiter is not installed, no error in that {p}",
    "Loading safetensors checkpoint shards:  {b}% Completed | 21/46 [00:40<00:45,  1.83s/it]",
)
_FAILURE = (
    "models/test_x.py::test_keys ",
    "(EngineCore pid=7) ERROR 11-20 10:00:00 [core.py:708] RuntimeError: HIP error: invalid argument",
    "FAILED",
    "=========================== short test summary info ============================",
    "FAILED models/test_x.py::test_keys - RuntimeError: Engine core initialization failed.",
    "======================== 1 failed, 9 passed in 63.02s ========================",
)


def write_log(path: Path, *, megabytes: int, failure: Sequence[str] = _FAILURE) -> None:
    """A log of the agent: time stamps, servers, tests that pass, and one that fails at its end."""
    rng = random.Random(20)
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1_000_000:
            file.writelines(_stamp(rng, rng.choice(_LINES)) for _ in range(5000))
        file.writelines(_stamp(rng, line) for line in failure)


def measure(*, runs: int = 5, megabytes: int = 100) -> list[Measurement]:
    """All in turn, in every run: ripgrep as a process, `re` and `read_log` here, their patterns compiled before."""
    rules = read_rules()
    twenty = Rules(rules=choose_rules(rules), ignored=rules.ignored)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.log"
        write_log(path, megabytes=megabytes)
        ours: list[float] = []
        whole: list[float] = []
        started: list[float] = []
        theirs: dict[str, list[float]] = {"ripgrep": [], "re": []}
        rows = [rule.pattern for rule in twenty.rules]
        pattern = re.compile("|".join(f"(?:{unname_groups(row)})" for row in rows).encode())
        ripgrep = shutil.which("rg")
        for rules_compiled in (twenty, None):
            _read(path, rules_compiled)
        for _ in range(runs):
            ours.append(_time(lambda: _read(path, twenty)))
            whole.append(_time(lambda: _read(path, None)))
            if ripgrep:
                command = [ripgrep, "--line-number", *(f"--regexp={unname_groups(row)}" for row in rows), str(path)]
                theirs["ripgrep"].append(_time(lambda c=command: subprocess.run(c, check=True, capture_output=True)))  # type: ignore[misc]
            command = [sys.executable, "-m", "triage.cli", "log", str(path), "--json"]
            started.append(_time(lambda c=command: subprocess.run(c, check=True, capture_output=True)))  # type: ignore[misc]
        slow = _time(lambda: _read_by_line(path, pattern))  # once: it takes most of a minute
        theirs["re"] = [slow] * runs
    found = [_compare(f"log of {megabytes} MB, {_PATTERNS} patterns", ours, theirs["re"], 1 / 8, "re, line by line")]
    if ripgrep:
        found.append(_compare(f"log of {megabytes} MB, {_PATTERNS} patterns", ours, theirs["ripgrep"], 1.0, "ripgrep"))
        name = f"log of {megabytes} MB, all {len(rules.rules)} rules"
        found.append(_compare(name, whole, theirs["ripgrep"], 2.0, f"ripgrep, {_PATTERNS} patterns"))
        name = f"log of {megabytes} MB, the whole command, Python's start and the rules' compiling included"
        found.append(_compare(name, started, theirs["ripgrep"], 6.0, f"ripgrep, {_PATTERNS} patterns"))
    return found


def _compare(promise: str, ours: list[float], theirs: list[float], limit: float, peer: str) -> Measurement:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    median, spread = summarise(ratios)
    peer_s = summarise(theirs)[0]
    return Measurement(
        promise=promise, measured=median, limit=limit, unit=f"x {peer}", spread=spread, peer=peer, peer_measured=peer_s
    )


def choose_rules(rules: Rules) -> tuple[Rule, ...]:
    """The first twenty that Python's `re` reads as RE2 does, and among them those that the failure needs."""
    usable = [rule for rule in rules.rules if "(?i)" not in rule.pattern]
    needed = [rule for rule in usable if rule.id in {"hip-error", "engine-did-not-start"}]
    others = [rule for rule in usable if rule not in needed]
    return (*others[: _PATTERNS - len(needed)], *needed)


def unname_groups(pattern: str) -> str:
    """The pattern without named groups, which ripgrep need not know."""
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)


def _read(path: Path, rules: Rules | None) -> None:
    report = read_log(str(path), rules=rules)
    if [failure.root.text for failure in report.failures] != ["RuntimeError: HIP error: invalid argument"]:
        raise RuntimeError("the failure was not found, so the time says nothing")


def _read_by_line(path: Path, pattern: re.Pattern[bytes]) -> None:
    with path.open("rb") as file:
        if not [number for number, line in enumerate(file, 1) if pattern.search(line)]:
            raise RuntimeError("nothing was found, so the time says nothing")


def _time(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _stamp(rng: random.Random, line: str) -> str:
    text = line.format(p=rng.randrange(100_000), a=rng.randrange(60), b=rng.randrange(60)) if "{" in line else line
    return f"[2026-04-15T10:{rng.randrange(60):02d}:{rng.randrange(60):02d}Z] {text}\n"
