"""The text of logs, JSON files, notebooks and pages without what belongs to a person or a machine."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from triage.redaction._assigned import find_assigned
from triage.redaction._machine import list_secrets, plan_names
from triage.redaction._shapes import (
    BASIC,
    BEARER,
    CONNECTION,
    ISSUED,
    PEM,
    URL_PASSWORD,
    URL_QUERY,
    URL_TOKEN,
    WEBHOOK,
    find_random,
)

if TYPE_CHECKING:
    from triage.result import Result  # a watch, which keeps records too, must not pay for it

NOT_RECORDED = "(not recorded)"
_KEEPING = (URL_PASSWORD, URL_TOKEN, URL_QUERY, WEBHOOK, BEARER, BASIC, CONNECTION)
# Words that a shell must quote only for what stands in place of a path.
_QUOTED = re.compile(r"'([\w@%+=:,./-]*(?:~|\(venv\)|\(triage\)|\(host\)|\$TRIAGE_CACHE)[\w@%+=:,./-]*)'")


def redact_text(text: str) -> str:
    """The text without secrets and without this machine's paths, user and host names; also the text of a JSON file.

    >>> from pathlib import Path
    >>> redact_text(f"{Path.home()}/models/e5 is no model.")
    '~/models/e5 is no model.'
    """
    # Secrets first: a folded name within one would hide its shape.
    return fold_names(hide_secrets(text))


def hide_secrets(text: str) -> str:
    """The text with `NOT_RECORDED` in place of every secret."""
    for secret in list_secrets(os.environ):
        text = text.replace(secret, NOT_RECORDED)
    text = PEM.sub(NOT_RECORDED, text)
    for pattern in _KEEPING:
        # A URL keeps its colon: it says that there was a password.
        text = pattern.sub(lambda m: f"{m['keep']}{':' if m.re is URL_PASSWORD else ''}{NOT_RECORDED}", text)
    text = ISSUED.sub(NOT_RECORDED, text)
    text = _cut(text, find_assigned(text))
    return _cut(text, find_random(text))


def fold_names(text: str) -> str:
    """The text with short names in place of this machine's paths, user and host names."""
    for pattern, name in plan_names():
        text = pattern.sub(rf"\g<1>{name}", text)  # no name holds a backslash
    return text


def join_command(words: Iterable[str]) -> str:
    """A command as a shell is given it, redacted; what stands for a path is not quoted, so that a shell can read ``~``.

    >>> from pathlib import Path
    >>> join_command([f"{Path.home()}/run", "a b"]), join_command(["~/run", "a b"])
    ("~/run 'a b'", "~/run 'a b'")
    """
    return _QUOTED.sub(r"\1", shlex.join(redact_text(word) for word in words))


def redact_result(result: Result) -> Result:
    """The result with every text in it redacted."""
    from triage.result import Result

    return Result.from_json(redact_text(result.to_json()))


def _cut(text: str, spans: Iterable[tuple[int, int]]) -> str:
    pieces, last = [], 0
    for start, end in spans:
        pieces += [text[last:start], NOT_RECORDED]
        last = end
    return "".join([*pieces, text[last:]])
