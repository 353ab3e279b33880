"""One run of one job: where it ran, of which commit, when, and how it ended."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from triage.logs._failure import Failure

# What a line of the agent, or of vLLM's script that runs AMD's jobs, says of the place.
_FACTS = {
    "build": re.compile(r"\bBUILDKITE_BUILD_NUMBER=['\"]?(\d+)|buildkite\.com/[\w-]+/[\w-]+/builds/(\d+)"),
    "commit": re.compile(r"\bBUILDKITE_COMMIT=['\"]?([0-9a-f]{7,40})\b|HEAD is now at ([0-9a-f]{7,40})\b"),
    "image": re.compile(r"\brocm/vllm-ci:([0-9a-f]{7,40})\b"),
    "agent": re.compile(r"\bBUILDKITE_AGENT_NAME=['\"]?([\w.-]+)"),
    "node": re.compile(r"\bEnvironment: Kubernetes pod=\S+ node=([\w.-]+)"),
    "queue": re.compile(r"\bBUILDKITE_AGENT_META_DATA_QUEUE=['\"]?([\w.-]+)"),
}
FACT_PATTERN = (
    r"BUILDKITE_(?:BUILD_NUMBER|COMMIT|AGENT_NAME|AGENT_META_DATA_QUEUE)=|Environment: Kubernetes pod="
    r"|builds/\d+|HEAD is now at [0-9a-f]|rocm/vllm-ci:[0-9a-f]"
)
_POOL = re.compile(r"(?i)\b((?:mi|gfx)\d{2,4}\w?_\d+)\b|\((MI\d{3}\w? ?\w*)\)|\b(mi\d{3}[a-z]?)\b")
_NO_NODE = {"unknown", "none", "localhost"}


class Outcome(StrEnum):
    """How a run of a job ended. ``UNKNOWN`` is one whose log does not say so."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of a job.

    ``pool`` is the kind of machine (``mi300_1``), ``node`` an alias of the machine itself (see `alias_node`), ``build``
    and ``commit`` what was tested, ``began`` and ``ended`` in UTC: each None where nothing says so. ``log`` is "" for a
    run that only a list of builds knows.
    """

    log: str
    job: str | None
    outcome: Outcome
    pool: str | None = None
    node: str | None = None
    build: str | None = None
    commit: str | None = None
    began: datetime | None = None
    ended: datetime | None = None
    failures: tuple[Failure, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """One row of ``runs`` in ``triage log --json``."""
        return {
            "log": self.log,
            "job": self.job,
            "outcome": self.outcome.value,
            "pool": self.pool,
            "node": self.node,
            "build": self.build,
            "commit": self.commit,
            "began": self.began.isoformat() if self.began else None,
            "ended": self.ended.isoformat() if self.ended else None,
        }


def read_facts(text: str) -> dict[str, str]:
    """What a line says of the place: build, commit, image, agent, node, queue.

    >>> read_facts("INFO: Environment: Kubernetes pod=ci-x7 node=rack3-07 namespace=ci")
    {'node': 'rack3-07'}
    """
    facts = {}
    for name, pattern in _FACTS.items():
        found = pattern.search(text)
        value = next((group for group in found.groups() if group), "") if found else ""
        if value and value not in _NO_NODE:
            facts[name] = value
    return facts


def make_run(
    *,
    log: str,
    job: str | None,
    outcome: Outcome,
    facts: Mapping[str, str],
    began_s: float | None,
    ended_s: float | None,
    failures: tuple[Failure, ...],
) -> JobRun:
    """The run of a job from what its log says. A node of Kubernetes is better known than the agent in it."""
    machine = facts.get("node") or facts.get("agent")
    return JobRun(
        log=log,
        job=job,
        outcome=outcome,
        pool=find_pool(job or "") or find_pool(facts.get("queue", "")),
        node=alias_node(machine) if machine else None,
        build=facts.get("build"),
        commit=(facts.get("commit") or facts.get("image") or "")[:12] or None,
        began=_as_time(began_s),
        ended=_as_time(ended_s),
        failures=failures,
    )


def alias_node(name: str) -> str:
    """A stable name for a machine that does not give its own away: reports are attached to public pull requests.

    >>> alias_node("rack3-07") == alias_node("rack3-07") != alias_node("rack3-08")
    True
    """
    return f"node-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def find_pool(name: str) -> str | None:
    """The kind of machine that the name of a job or of a queue holds.

    >>> find_pool("AMD: V1 Core (mi300_1)"), find_pool(":amd: (MI355 DPX) V1 Core Shard 2"), find_pool("V1 Core")
    ('mi300_1', 'mi355 dpx', None)
    """
    found = _POOL.search(name)
    return next(group for group in found.groups() if group).lower() if found else None


def _as_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
