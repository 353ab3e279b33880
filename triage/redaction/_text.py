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
# Each with what a text must hold in any case; to look for that is quicker by far.
_KEEPING = (
    (URL_PASSWORD, ("://",)),
    (URL_TOKEN, ("://",)),
    (URL_QUERY, ("=",)),
    (WEBHOOK, ("hooks.slack", "webhook")),
    (BEARER, ("bearer",)),
    (BASIC, ("authorization",)),
    (CONNECTION, ("accountkey", "sharedaccess", "sharedsecret")),
)
# Pictures in base64 are most of a page and of a notebook. They are set aside, to be put back where nothing was cut out.
_PICTURE = re.compile(r"[A-Za-z0-9+/]{2000,}={0,2}")
_ASIDE = re.compile("\ue000set-aside-([0-9]+)\ue001")
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
    text, pictures = _set_aside(text)
    held = text.lower()
    if "private key" in held:
        text = PEM.sub(NOT_RECORDED, text)
    for pattern, needed in _KEEPING:
        if any(word in held for word in needed):
            # A URL keeps its colon: it says that there was a password.
            text = pattern.sub(lambda m: f"{m['keep']}{':' if m.re is URL_PASSWORD else ''}{NOT_RECORDED}", text)
    text = ISSUED.sub(NOT_RECORDED, text)
    text = _cut(text, find_assigned(text))
    text = _cut(text, find_random(text))
    return _ASIDE.sub(lambda match: pictures[int(match[1])], text) if pictures else text


def fold_names(text: str) -> str:
    """The text with short names in place of this machine's paths, user and host names."""
    for word, pattern, name in plan_names():
        if word in text:
            text = pattern.sub(rf"\g<1>{name}", text)  # no name holds a backslash
    return text


def _set_aside(text: str) -> tuple[str, list[str]]:
    """The text with marks in place of long runs of base64, and those runs: a mark under a secret's name is cut out."""
    if "\ue000" in text:
        return text, []
    pictures: list[str] = []

    def keep(match: re.Match[str]) -> str:
        pictures.append(match[0])
        return f"\ue000set-aside-{len(pictures) - 1}\ue001"

    return _PICTURE.sub(keep, text), pictures


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
