"""Keeps what belongs to a person or a machine out of records: home, checkout and cache paths, host, secrets."""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from triage.engine.cache import find_cache

if TYPE_CHECKING:
    from triage.result import Result  # a watch, which keeps records too, must not pay for it

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SECRET_CHARS = 8  # a shorter value is a switch or a number, and its text stands everywhere
_HOST_CHARS = 4  # likewise
# What may stand before a short word: no character that a path or base64 goes on with, but a terminal's colour may.
# A path of several folders needs none: two processes that write at once put it right behind another word.
_BEFORE = r"(^|[^\w+./~-]|(?:\x1b|\\u001b)\[[\d;]*m)"
_QUOTED = re.compile(r"'([\w@%+=:,./-]*(?:~|\(venv\)|\(triage\)|\(host\)|\$TRIAGE_CACHE)[\w@%+=:,./-]*)'")
_BEHIND = r"(?![\w.+=-])"


def redact_text(text: str) -> str:
    """The text without this machine's paths, host name and secrets; also for the text of a JSON file.

    >>> redact_text(f"{Path.home()}/models/e5 is no model.")
    '~/models/e5 is no model.'
    """
    for pattern, name in _plan_patterns(tuple(sorted(_list_paths().items())), _list_host_words()):
        text = pattern.sub(rf"\g<1>{name}", text)  # no name holds a backslash
    for secret in _list_secrets(os.environ):
        text = text.replace(secret, "(not recorded)")
    return text


def join_command(words: Iterable[str]) -> str:
    """A command as a shell is given it, redacted; what stands for a path is not quoted, so that a shell can read ``~``.

    >>> join_command([f"{Path.home()}/run", "a b"]), join_command(["~/run", "a b"])
    ("~/run 'a b'", "~/run 'a b'")
    """
    return _QUOTED.sub(r"\1", shlex.join(redact_text(word) for word in words))


def redact_result(result: Result) -> Result:
    """The result with every text in it redacted."""
    from triage.result import Result

    return Result.from_json(redact_text(result.to_json()))


def _list_paths() -> dict[str, str]:
    """What a path is called instead. Only folders of somebody's own: /usr tells nothing."""
    checkout = str(Path(__file__).parents[1])
    paths = {str(find_cache()): "$TRIAGE_CACHE", str(Path.home()): "~"}
    if checkout not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        paths[checkout] = "(triage)"
    if sys.prefix != sys.base_prefix:
        paths[sys.prefix] = "(venv)"
    real = {os.path.realpath(path): name for path, name in paths.items()}
    return {path: name for path, name in (real | paths).items() if path.count("/") > 1 or path == "/root"}


@cache
def _plan_patterns(
    paths: tuple[tuple[str, str], ...], host_words: tuple[str, ...]
) -> list[tuple[re.Pattern[str], str]]:
    words = [*sorted(paths, key=lambda pair: -len(pair[0])), *((word, "(host)") for word in host_words)]
    return [
        (re.compile(f"{'()' if word.count('/') > 1 else _BEFORE}{re.escape(word)}{_BEHIND}", re.MULTILINE), name)
        for word, name in words
    ]


@cache
def _list_host_words() -> tuple[str, ...]:
    """The host's name and addresses; vLLM logs the latter."""
    import psutil

    addresses = [a.address for held in psutil.net_if_addrs().values() for a in held if a.family == socket.AF_INET]
    return tuple(
        word
        for word in (socket.gethostname(), *addresses)
        if len(word) >= _HOST_CHARS and word != "localhost" and not word.startswith("127.")
    )


def _list_secrets(environ: Mapping[str, str]) -> list[str]:
    values = {value for name, value in environ.items() if _SECRET_NAME.search(name) and len(value) >= _SECRET_CHARS}
    # A path (of a key file, say) is no secret itself.
    return sorted((value for value in values if not value.startswith("/")), key=len, reverse=True)
