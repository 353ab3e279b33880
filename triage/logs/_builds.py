"""A list of builds, as Buildkite's REST API gives it: which job ran on which agent, when, and how it ended.

A log seldom says where its job ran. ``curl -H "Authorization: Bearer $TOKEN" https://api.buildkite.com/v2/organizations/
vllm/pipelines/amd-ci/builds`` does, for every job, also for those that passed and whose logs nobody keeps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from triage.errors import LogError
from triage.logs._read import LogReport
from triage.logs._runs import JobRun, Outcome, alias_node, find_pool

_JOB_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_QUEUE = "queue="
_OUTCOMES = {"passed": Outcome.PASSED, "failed": Outcome.FAILED, "timed_out": Outcome.FAILED, "broken": Outcome.UNKNOWN}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Agent(_Part):
    name: str | None = None
    hostname: str | None = None
    meta_data: tuple[str, ...] | None = None


class _Job(_Part):
    id: str
    type: str = "script"
    name: str | None = None
    state: str = ""
    exit_status: int | None = None
    agent: _Agent | None = None
    agent_query_rules: tuple[str, ...] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class _Build(_Part):
    number: int
    commit: str | None = None
    jobs: Annotated[tuple[_Job, ...], Field(default=())]


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """A run that a list of builds knows, under its job's id."""

    id: str
    run: JobRun


def read_builds(path: Path) -> tuple[KnownRun, ...]:
    """The runs of a file that holds one build, or a list of them, as JSON.

    Raises `LogError` for what is missing or is no such file; says where.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        builds = TypeAdapter(list[_Build]).validate_python(content if isinstance(content, list) else [content])
    except OSError as error:
        raise LogError(f"{path} cannot be read ({error.strerror}).", hint="Name another list of builds.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise LogError(
            f"{path} is no list of Buildkite's builds: {place}: {first['msg']}.",
            hint="Save the answer of Buildkite's /builds as it is.",
        ) from None
    except (ValueError, RecursionError) as error:
        raise LogError(
            f"{path} is not JSON: {error}.", hint="Save the answer of Buildkite's /builds as it is."
        ) from error
    return tuple(_make(build, job) for build in builds for job in build.jobs if job.type == "script" and job.started_at)


def add_builds(reports: Sequence[LogReport], known: Iterable[KnownRun]) -> list[LogReport]:
    """The reports with what a list of builds says of their runs, and one more report for runs without a log.

    A log belongs to a job whose id is in its path. What the list says of a place wins over the log, which may hold the
    like in a test's output; how a run ended does not: a log with a failure stays failed.
    """
    by_id = {one.id: one.run for one in known}
    found = []
    for report in reports:
        ids = [i for i in _JOB_ID.findall(report.log) if i in by_id]
        if not ids:
            found.append(report)
            continue
        place = by_id.pop(ids[-1])
        found.append(replace(report, runs=tuple(_join(run, place) for run in report.runs)))
    rest = tuple(by_id.values())
    return [*found, LogReport(log="", runs=rest, bytes=0, lines=0, seconds=0.0)] if rest else found


def _join(run: JobRun, place: JobRun) -> JobRun:
    return replace(
        run,
        job=place.job or run.job,
        outcome=run.outcome if run.failures else place.outcome,
        pool=place.pool or run.pool,
        node=place.node or run.node,
        build=place.build or run.build,
        commit=place.commit or run.commit,
        began=place.began or run.began,
        ended=place.ended or run.ended,
    )


def _make(build: _Build, job: _Job) -> KnownRun:
    agent = job.agent or _Agent()
    rules = (*(agent.meta_data or ()), *(job.agent_query_rules or ()))
    queue = next((rule.removeprefix(_QUEUE) for rule in rules if rule.startswith(_QUEUE)), "")
    machine = agent.hostname or agent.name
    run = JobRun(
        log="",
        job=job.name,
        outcome=_OUTCOMES.get(job.state, Outcome.UNKNOWN),
        pool=find_pool(job.name or "") or find_pool(queue) or queue or None,
        node=alias_node(machine) if machine else None,
        build=str(build.number),
        commit=(build.commit or "")[:12] or None,
        began=job.started_at,
        ended=job.finished_at,
    )
    return KnownRun(id=job.id, run=run)
