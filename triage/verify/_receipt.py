"""The receipt of a verification: every attempt, every figure, and checksums that name the line that was edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from triage.fleet import name_node
from triage.redaction import redact_text
from triage.result import Family
from triage.verify._attempt import Attempt
from triage.verify._campaign import Campaign
from triage.verify._design import Design, Rule
from triage.verify._environment import describe_environment
from triage.verify._explain import explain_judgement
from triage.verify._judge import Judgement, judge_attempts
from triage.verify._results import describe_seen

SCHEMA_VERSION: Literal[1] = 1
CHECKSUMS = "checksums"
_TEST = "Fisher's exact test, one-sided"
_STRATIFIED = "exact Cochran-Mantel-Haenszel test by node, one-sided"
_LINE_CHARS = 8  # of a line's checksum: enough to see an edit, no protection against a forger


def build_receipt(campaign: Campaign, attempts: Sequence[Attempt], *, ended: str) -> dict[str, Any]:
    """The receipt as plain JSON, without paths, host names and secrets, and with its checksums."""
    figures = build_figures(attempts, campaign.design, wanted=campaign.target, family=campaign.family)
    receipt = {
        "schema_version": SCHEMA_VERSION,
        **figures,
        "case": campaign.case,
        "wanted": {"signature": campaign.target, "family": campaign.family and campaign.family.value},
        "design": campaign.design.to_json(),
        "seed": campaign.seed,
        "limits": asdict(campaign.limits),
        "arms": dict(campaign.setup.description),
        "place": _describe_place(campaign.place),
        "environment": describe_environment(),
        "started": campaign.started,
        "ended": ended,
        "signatures": {one.signature: describe_seen(one) for attempt in attempts for one in attempt.seen},
    }
    receipt["attempts"] = receipt.pop("attempts")  # the longest part comes last
    return add_checksums(json.loads(redact_text(json.dumps(receipt))))


def _describe_place(place: Mapping[str, Any]) -> dict[str, Any]:
    """Where the runs were made, nodes by their aliases."""
    return {
        name: [name_node(node) for node in value] if name in {"nodes", "exclude"} else value
        for name, value in place.items()
    }


def build_figures(
    attempts: Sequence[Attempt], design: Design, *, wanted: str | None, family: Family | None
) -> dict[str, Any]:
    """Every figure that follows from the attempts: what ``--check`` computes anew."""
    state = judge_attempts(attempts, design, target=wanted, family=family)
    return {
        "verdict": state.verdict.value,
        "explanation": list(explain_judgement(state, design)),
        "signature": state.target,
        "before": state.before.to_json(),
        "after": state.after.to_json(),
        "reverted": None if state.reverted is None else state.reverted.to_json(),
        "p_value": state.p_value,
        "runs_needed": state.runs_needed,
        "statistics": _describe_statistics(state, design),
        "attempts": [attempt.to_json(state.target) for attempt in attempts],
    }


def _describe_statistics(state: Judgement, design: Design) -> dict[str, Any]:
    sequential = state.sequential
    return {
        "test": _STRATIFIED if state.nodes > 1 else _TEST,
        "intervals": "Clopper-Pearson",
        "stopping_rule": "sequential probability ratio test" if design.rule is Rule.SPRT else "fixed number of runs",
        "old_rate_lower_bound": state.old_rate_bound,
        "new_rate_upper_bound": state.excluded,
        "planned_runs": state.planned_pairs,
        "complete": state.complete,
        "new_failures": [one.signature for one in state.new],
        "new_timeouts": state.new_timeouts,
        "nodes": state.nodes,
        "bad_nodes": [asdict(node) for node in state.bad_nodes],
        "sequential": None if sequential is None else asdict(sequential) | {"leaning": sequential.leaning.value},
    }


def format_receipt(receipt: Mapping[str, Any]) -> str:
    """The text of a receipt: one line for each figure, and one for each attempt."""
    parts = []
    for key, value in receipt.items():
        if isinstance(value, dict) and value:
            inner = ",\n".join(f"  {json.dumps(name)}: {_write(item)}" for name, item in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        elif isinstance(value, list) and value:
            inner = ",\n".join(f"  {_write(item)}" for item in value)
            parts.append(f" {json.dumps(key)}: [\n{inner}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {_write(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _write(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def add_checksums(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt with the checksum of its content, and of each line of its text."""
    content = {key: value for key, value in receipt.items() if key != CHECKSUMS}
    lines = " ".join(hash_line(line) for line in list_lines(content))
    return content | {CHECKSUMS: {"content": hash_content(content), "lines": lines}}


def list_lines(content: Mapping[str, Any]) -> list[str]:
    """The lines of a receipt's text that come before its checksums."""
    return format_receipt(content).rstrip("}\n").splitlines()


def hash_content(content: Mapping[str, Any]) -> str:
    """The checksum of what a receipt says, however its text is laid out."""
    text = json.dumps({k: v for k, v in content.items() if k != CHECKSUMS}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_line(line: str) -> str:
    """The short checksum of a line, without the comma that the next one needs."""
    return hashlib.sha256(line.strip().rstrip(",").encode()).hexdigest()[:_LINE_CHARS]
