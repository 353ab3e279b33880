"""The lines to change in the upstream test, as text to copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from triage.tokens._tolerance import ExpectedPromptTokens


def propose_lines(
    fields: Sequence[str],
    *,
    before: Sequence[ExpectedPromptTokens] | None,
    after: Mapping[str, ExpectedPromptTokens],
    path: str,
) -> str:
    """The expectation's lines in the style of the upstream test; as a diff where the present ones are known.

    They are not (``before`` is None) for another vLLM, or for requests that are not the test's.

    ``fields`` are the keyword names of the test, in the order of the requests of ``after``.

    >>> print(propose_lines(["whole", "cut"], before=[285, 154], after={"a": (284, 285), "b": 154}, path="t.py"))
    # t.py
    -        whole=285,
    +        whole=(284, 285),
             cut=154,
    """
    new = [_line(name, value) for name, value in zip(fields, after.values(), strict=True)]
    if before is None:
        return "\n".join([f"# {path} expects nothing known of these requests; with them, it would be", *new])
    old = [_line(name, value) for name, value in zip(fields, before, strict=True)]
    if old == new:
        return (
            f"# {path}: nothing to change, the expectation is the tightest that covers these snapshots\n"
            + "\n".join(new)
        )
    lines = [f"# {path}"]
    for ours, theirs in zip(old, new, strict=True):
        lines += [" " + ours] if ours == theirs else ["-" + ours, "+" + theirs]
    return "\n".join(lines)


def _line(name: str, value: ExpectedPromptTokens) -> str:
    return f"        {name}={value},"
