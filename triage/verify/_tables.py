"""The tables of a verification, and the Markdown of its receipt for the body of a pull request."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_ARMS = ("before", "after", "reverted")
_COLUMNS = ("runs", "failures", "other_failures", "passes", "timeouts", "skips", "lost")
_VERDICTS = {
    "VERIFIED": "The fix is verified",
    "NOT_VERIFIED": "The fix is not verified",
    "INSUFFICIENT": "Too few runs to tell",
    "NEVER_FAILED": "The base never failed",
}


def tabulate_arms(receipt: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each arm of a receipt: its runs by outcome, the rate and its 95 % interval."""
    import pandas as pd

    rows = {}
    for arm in _ARMS:
        if counts := receipt[arm]:
            row = {name.replace("_", " "): counts[name] for name in _COLUMNS}
            rows[arm] = row | {"rate": _show_rate(counts["rate"]), "95 % interval": _show_interval(counts["ci95"])}
    return pd.DataFrame.from_dict(rows, orient="index")


def tabulate_attempts(receipt: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each run of a receipt, in the order of the plan."""
    import pandas as pd

    return pd.DataFrame(receipt["attempts"])[
        ["index", "pair", "arm", "outcome", "returncode", "signature", "seconds", "node"]
    ]


def render_markdown(receipt: Mapping[str, Any]) -> str:
    """The receipt as Markdown for a pull request: what was run and seen, what follows, and how to check it."""
    return "\n".join(_render(receipt)) + "\n"


def _render(receipt: Mapping[str, Any]) -> Iterator[str]:
    design, statistics = receipt["design"], receipt["statistics"]
    yield f"### {_VERDICTS[receipt['verdict']]} (`{receipt['verdict']}`)"
    yield ""
    yield from receipt["explanation"]
    yield ""
    heads = ("arm", *(name.replace("_", " ") for name in _COLUMNS), "failure rate (95 % interval)")
    yield f"| {' | '.join(heads)} |"
    yield "| --- | --: | --: | --: | --: | --: | --: | --: | --- |"
    for arm in _ARMS:
        if counts := receipt[arm]:
            cells = " | ".join(str(counts[name]) for name in _COLUMNS)
            yield f"| {arm} | {cells} | {_show_rate(counts['rate'])} ({_show_interval(counts['ci95'])}) |"
    yield ""
    signature = receipt["signatures"].get(receipt["signature"])
    if signature:
        yield f"- failure: `{_plain(signature['line'])}` ({signature['family']}, `{receipt['signature']}`)"
    yield f"- command: `{_plain(shlex.join(receipt['arms']['command']))}`"
    if receipt["arms"]["after_command"] != receipt["arms"]["command"]:
        yield f"- command after the change: `{_plain(shlex.join(receipt['arms']['after_command']))}`"
    yield from _render_change(receipt["arms"])
    yield (
        f"- method: {statistics['stopping_rule']}, {statistics['planned_runs']} runs of each arm in turn, each a fresh "
        f"process, retries off; {statistics['test']}, p = {receipt['p_value']:.2g}; intervals are "
        f"{statistics['intervals']}; confidence {design['confidence']:.0%}"
    )
    packages = ", ".join(f"{k} {v}" for k, v in receipt["environment"]["versions"].items() if v)
    yield f"- environment: {packages}"
    yield ""
    yield f"Receipt `{receipt['checksums']['content'][:16]}`: `triage verify --check receipt.json` computes it anew."


def _render_change(arms: Mapping[str, Any]) -> Iterator[str]:
    if arms.get("base_revision"):
        yield f"- base: `{arms['base_revision']}`"
    if arms.get("overlay_of"):
        yield f"- onto an overlay of `{arms['overlay_of']}`"
    if arms.get("after_revision"):
        yield f"- change: revision `{arms['after_revision']}`"
    if patch := arms.get("patch"):
        files = ", ".join(f"`{_plain(name)}`" for name in patch["files"])
        yield f"- change: patch of {files}, sha256 `{patch['sha256'][:16]}`"
    if arms.get("env"):
        yield f"- change: `{_plain(shlex.join(f'{k}={v}' for k, v in arms['env'].items()))}`"


def _plain(text: str) -> str:
    """A text between backticks on one line."""
    return text.replace("`", "'").replace("\n", " ")


def _show_rate(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.1%}"


def _show_interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{low:.1%} to {high:.1%}"
