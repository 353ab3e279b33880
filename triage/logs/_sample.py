"""A small red week of CI as logs, to try things out: ``sample.toml`` beside this file, written as the agent writes."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from triage.files import make_folder, write_atomic

_FILE = Path(__file__).parent / "sample.toml"
_FAILED = "!"


def write_sample(folder: Path) -> list[str]:
    """Writes one log for each run of the sample week, and returns their paths in the order of time.

    Raises `StorageError` where the folder cannot be written.
    """
    week = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    paths = []
    for place, (commit, job, node, began, failed) in enumerate(_list_runs(week)):
        rng = random.Random(f"{commit} {job['name']} {node}")  # pids and addresses differ from run to run
        path = make_folder(folder) / f"{place:02d}-{commit[:7]}.log"
        write_atomic(path, _stamp(_write_run(commit, job, node, failed, rng), began))
        paths.append(str(path))
    return paths


def _list_runs(week: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str, datetime, bool]]:
    for commit in week["commit"]:
        for hour, (job, nodes) in enumerate(zip(week["job"], commit["nodes"], strict=True)):
            for attempt, node in enumerate(nodes):
                began = datetime.fromisoformat(f"{commit['day']}T06:00:00") + timedelta(hours=2 * hour + attempt)
                yield commit["id"], job, node.rstrip(_FAILED), began, node.endswith(_FAILED)


def _write_run(commit: str, job: Mapping[str, Any], node: str, failed: bool, rng: random.Random) -> Sequence[str]:
    tests = [*job["tests"], *([job["failing"]] if job["failing"] else [])]
    lines = [
        f"~~~ {job['name']}",
        f"Environment: Kubernetes pod=ci-{rng.randrange(1 << 20):05x} node=sample-{node} namespace=ci",
        "--- Pulling container",
        f"Status: Image is up to date for rocm/vllm-ci:{commit}",
        f"+ {job['command']}",
        f"{'=' * 29} test session starts {'=' * 30}",
        f"collected {len(tests)} items",
    ]
    for test in job["tests"]:
        lines += [f"{test} PASSED", "INFO 11-20 10:02:08 [loggers.py:123] Engine 000: Avg throughput: 12.0 tokens/s"]
    if not failed:
        passed = [f"{job['failing']} PASSED"] if job["failing"] else []
        ended = f"{'=' * 20} {len(tests)} passed, 2 warnings in 63.02s (0:01:03) {'=' * 20}"
        return [*lines, *passed, ended, "Exited with status 0"]
    (failure,) = job["failures"].values()
    fill = {"pid": rng.randrange(300, 9999), "address": f"0x{rng.randrange(1 << 32):08x}"}
    lines += [f"{job['failing']} ", *(line.format(**fill) for line in failure["live"])]
    if failure["errors"]:
        lines += _write_report(job["failing"], [line.format(**fill) for line in failure["errors"]], len(job["tests"]))
    return [*lines, f"🚨 Error: The command exited with status {failure['exit_status']}"]


def _write_report(test: str, errors: Sequence[str], passed: int) -> Iterator[str]:
    """What pytest prints of a failed test."""
    name = test.partition("::")[2]
    yield from ("FAILED", "", f"{'=' * 35} FAILURES {'=' * 35}", f"{'_' * 10} {name} {'_' * 10}")
    yield from (f"E       {error}" for error in errors)
    yield from ("", f"{test.partition('::')[0]}:88: {errors[0].partition(':')[0]}")
    yield from (f"{'=' * 27} short test summary info {'=' * 28}", f"FAILED {test} - {errors[0]}")
    yield f"{'=' * 20} 1 failed, {passed} passed, 5 warnings in 63.02s (0:01:03) {'=' * 20}"


def _stamp(lines: Sequence[str], began: datetime) -> str:
    times = (began + timedelta(seconds=20 * n) for n in range(len(lines)))
    return "".join(f"[{time:%Y-%m-%dT%H:%M:%S}Z] {line}\n" for time, line in zip(times, lines, strict=True))
