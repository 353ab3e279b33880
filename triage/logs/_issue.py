"""A failure as the text of an issue, in the shape of vLLM's template for CI failures (``450-ci-failure.yml``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from triage.logs._clusters import Cluster
from triage.logs._command import explain_no_command
from triage.logs._failure import LogLine
from triage.logs._nodes import Binding, Judgement
from triage.logs._retries import Ledger, Retry
from triage.logs._runs import JobRun, Outcome
from triage.redaction import redact_text
from triage.result import Family

_TESTS, _LINES, _TITLE_CHARS = 20, 12, 120
# What the family of a failure says of its origin outside vLLM; nothing is ticked for the others.
_EXTERNAL = {Family.MISSING_DEPENDENCY, Family.IMAGE_OR_REGISTRY, Family.NETWORK}
# Other people's machines and homes, which the redaction of this machine's does not know.
_HOME = re.compile(r"(?<![\w.])/(?:home|Users)/[^/\s'\":]+")
_ADDRESS = re.compile(r"(?<![\d.])(?!127\.|0\.0\.0\.0)(?:\d{1,3}\.){3}\d{1,3}(?![\d.])(?=[:/\s'\",)\]]|$)")
_POD = re.compile(r"\b(pod|node|host(?:name)?)=[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class Issue:
    """The title and the body of an issue, in Markdown; ``name`` is a name for its file."""

    name: str
    title: str
    body: str

    def to_markdown(self) -> str:
        """Title and body as one text."""
        return f"# {self.title}\n\n{self.body}"


def render_issue(judgement: Judgement, *, runs: Sequence[JobRun] = (), ledger: Ledger | None = None) -> Issue:
    """A filled issue for one failure, with the command that reproduces it; nothing of a machine or a person is in it.

    ``runs`` are all runs that were read, ``ledger`` their retries: both say whether the test is flaky and since when.
    *Can reproduce locally* stays open: that is for whoever has done it.
    """
    cluster = judgement.cluster
    first = cluster.occurrences[0].failure
    retried = [r for r in ledger.retries if any(r.failed is run for run in cluster.runs)] if ledger else []
    body = "\n\n".join(
        (
            f"### Name of failing test\n\n{_name_tests(cluster)}",
            f"### Basic information\n\n{_tick(cluster, retried)}",
            f"### 🧪 Describe the failing test\n\n{_describe(judgement)}",
            f"### 📝 History of failing test\n\n{_tell_history(judgement, runs, retried)}",
            "### CC List.\n\n_No response_\n",
        )
    )
    jobs = cluster.list_places("job")
    group = jobs[0] if jobs else (first.test or "").partition("::")[0] or first.log.rpartition("/")[2] or "a CI job"
    title = _hide(f"[CI Failure]: {group}")
    name = f"{cluster.family.value}-{cluster.signature.rpartition(':')[2]}"
    return Issue(name=name, title=_shorten(title, _TITLE_CHARS), body=_hide(body))


def _name_tests(cluster: Cluster) -> str:
    if not cluster.tests:
        jobs = ", ".join(map(_quote, cluster.list_places("job"))) or "the job"
        return f"No test failed: {jobs} did ({cluster.occurrences[0].failure.note or 'see below'})."
    shown = "\n".join(map(_quote, cluster.tests[:_TESTS]))
    more = len(cluster.tests) - _TESTS
    return shown + (f"\nand {more} more" if more > 0 else "")


def _tick(cluster: Cluster, retried: Sequence[Retry]) -> str:
    flaky = any(retry.again.outcome is Outcome.PASSED for retry in retried)
    rows = (
        (flaky, "Flaky test"),
        (False, "Can reproduce locally"),
        (cluster.family in _EXTERNAL, "Caused by external libraries (e.g. bug in `transformers`)"),
    )
    return "\n".join(f"- [{'x' if ticked else ' '}] {label}" for ticked, label in rows)


def _describe(judgement: Judgement) -> str:
    cluster = judgement.cluster
    failure = cluster.occurrences[0].failure
    what = f"Family `{cluster.family.value}`" + (
        ", the node or a service rather than the code" if cluster.infra else ""
    )
    lines = sorted({*failure.evidence, *failure.consequences[:3]}, key=lambda line: line.n)[:_LINES]
    parts = [f"{what}. Signature `{cluster.signature}`.", _fence(_number(lines), "text")]
    if failure.command:
        parts += ["To reproduce:", _fence(failure.command, "bash")]
    else:
        parts.append(explain_no_command(failure))
    if failure.with_model:
        parts += ["With the model of the job, where it is in the Hub cache:", _fence(failure.with_model, "bash")]
    return "\n\n".join(parts)


def _tell_history(judgement: Judgement, runs: Sequence[JobRun], retried: Sequence[Retry]) -> str:
    cluster = judgement.cluster
    jobs = set(cluster.list_places("job"))
    like = [run for run in runs if run.job in jobs and run.outcome is not Outcome.UNKNOWN]
    first = cluster.first_seen
    rows = [f"First seen here: {f'{first:%Y-%m-%d %H:%M} UTC' if first else 'the logs have no dates'}."]
    places = {name: cluster.list_places(name) for name in ("build", "commit")}
    rows += [f"{name.capitalize()}s: {', '.join(found)}." for name, found in places.items() if 0 < len(found) <= _TESTS]
    if like:
        rows.append(f"Failed {len(cluster.runs)} of {len(like)} runs of {'its job' if len(jobs) == 1 else 'its jobs'}.")
    if pools := cluster.list_places("pool"):
        rows.append(f"Hardware: {', '.join(pools)}.")
    if judgement.binding is not Binding.UNDECIDED:
        bound = f"Bound to the {judgement.binding.value} ({judgement.place}): {judgement.because}"
        rows.append(f"{bound}; exact test, p = {judgement.p_value:.2g}.")
    elif cluster.list_places("node"):
        rows.append(f"Node or code: undecided, {judgement.because}.")
    if retried:
        passed = sum(retry.again.outcome is Outcome.PASSED for retry in retried)
        rows.append(f"Passed on {passed} of {len(retried)} retries.")
    return "\n".join(f"- {row}" for row in rows)


def _number(lines: Sequence[LogLine]) -> str:
    width = len(str(lines[-1].n)) if lines else 1
    return "\n".join(f"{line.n:>{width}}  {line.text}" for line in lines)


def _quote(name: str) -> str:
    return f"`` {name} ``" if "`" in name else f"`{name}`"


def _fence(text: str, language: str) -> str:
    """A block of code that no line of the text can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _hide(text: str) -> str:
    text = _POD.sub(r"\1=(host)", _ADDRESS.sub("(address)", _HOME.sub("~", text)))
    return redact_text(text)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
