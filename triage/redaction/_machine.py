"""What this machine, its user and this process are called, and which of their secrets are known by value."""

from __future__ import annotations

import getpass
import html
import json
import os
import re
import socket
import sys
import sysconfig
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

from triage.files import find_cache
from triage.redaction._names import is_plain, rate_name

_SECRET_CHARS = 8  # a shorter value is a switch or a number, and its text stands everywhere
_NAME_CHARS = 4  # likewise
# Users of images and runners: they are nobody.
GENERIC_USERS = frozenset(
    """
    admin buildkite buildkite-agent debian docker jenkins jovyan me nobody root runner ubuntu user users vllm you
    """.split()  # noqa: SIM905 - words are read more easily
)
_HOST_VARIABLES = ("HOSTNAME", "SLURMD_NODENAME", "SLURM_SUBMIT_HOST", "VLLM_HOST_IP", "HOST_IP")
# What may stand before a short word: no character that a path or base64 goes on with, but a terminal's colour may.
# A path of several folders needs none: two processes that write at once put it right behind another word.
_BEFORE = r"(^|[^\w+./~-]|(?:\x1b|\\u001b)\[[\d;]*m)"
_BEHIND = r"(?![\w.+=-])"


def plan_names() -> list[tuple[str, re.Pattern[str], str]]:
    """What is folded: a word that stands in it, its pattern, and what it becomes behind the pattern's first group."""
    return _plan(_list_paths(str(find_cache()), str(Path.home())), _list_host_words(), find_user())


@cache
def _plan(
    paths: tuple[tuple[str, str], ...], host_words: tuple[str, ...], user: str | None
) -> list[tuple[str, re.Pattern[str], str]]:
    words = [*sorted(paths, key=lambda pair: -len(pair[0])), *((word, "(host)") for word in host_words)]
    plan = [
        (word, re.compile(f"{'()' if word.count('/') > 1 else _BEFORE}{re.escape(word)}{_BEHIND}", re.MULTILINE), name)
        for word, name in words
    ]
    generic = "|".join(sorted(map(re.escape, GENERIC_USERS)))
    others = rf"(/(?:home|Users)/)(?!(?:{generic})(?![\w.-]))[A-Za-z_][\w.-]*(?=[/\"'\s:,;<>)\]]|$)"
    pattern = re.compile(rf"(?<![\w+]){others}", re.MULTILINE)
    plan += [(root, pattern, "(user)") for root in ("/home/", "/Users/")]
    if user is not None:
        # As a folder, or before its host; anywhere else it may be a word of the language.
        word = re.escape(user)
        plan.append((f"/{user}", re.compile(rf"(/){word}(?=[/\"'\s:,;<>)\]\\]|$)", re.MULTILINE), "(user)"))
        plan.append((f"{user}@", re.compile(rf"(^|[\s\"'=(]){word}(?=@[\w(])", re.MULTILINE), "(user)"))
    return plan


def list_paths() -> dict[str, str]:
    """What a path is called instead. Only folders of somebody's own: /usr tells nothing."""
    return dict(_list_paths(str(find_cache()), str(Path.home())))


@cache
def _list_paths(triage_cache: str, home: str) -> tuple[tuple[str, str], ...]:
    """Kept: the real path of each asks the disk, and a log is redacted line by line."""
    checkout = str(Path(__file__).parents[2])
    paths = {triage_cache: "$TRIAGE_CACHE", home: "~"}
    if checkout not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        paths[checkout] = "(triage)"
    if sys.prefix != sys.base_prefix:
        paths[sys.prefix] = "(venv)"
    real = {os.path.realpath(path): name for path, name in paths.items()}
    return tuple(
        sorted((path, name) for path, name in (real | paths).items() if path.count("/") > 1 or path == "/root")
    )


def find_user() -> str | None:
    """The user's name, where it tells who somebody is."""
    try:
        name = os.environ.get("USER") or getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return None
    return None if len(name) < _NAME_CHARS or name.lower() in GENERIC_USERS else name


def list_host_words() -> tuple[str, ...]:
    """The host's names and addresses; vLLM logs the latter."""
    return _list_host_words()


@cache
def _list_host_words() -> tuple[str, ...]:
    import psutil  # here: whoever only watches a command must not pay for it

    families = {socket.AF_INET, socket.AF_INET6}
    addresses = [
        a.address.partition("%")[0] for held in psutil.net_if_addrs().values() for a in held if a.family in families
    ]
    name = socket.gethostname()
    named = [name, name.partition(".")[0], *(os.environ.get(variable, "") for variable in _HOST_VARIABLES)]
    words = dict.fromkeys(
        word
        for word in (*named, *addresses)
        if len(word) >= _NAME_CHARS
        and not word.startswith(("localhost", "127.", "0.0.0.0"))
        and word not in {"::1", "fe80"}
    )
    return tuple(sorted(words, key=len, reverse=True))


def list_secrets(environ: Mapping[str, str]) -> list[str]:
    """The values of this process's secret variables as they may stand in a text: plain, in JSON, in HTML."""
    return list(_list_secrets(tuple(environ.items())))


@lru_cache(maxsize=8)
def _list_secrets(variables: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    found: set[str] = set()
    for name, value in variables:
        strength = rate_name(name)
        if strength and len(value) >= _SECRET_CHARS and not is_plain(value, strength):
            found |= {value, json.dumps(value)[1:-1], html.escape(value)}
    return tuple(sorted(found, key=len, reverse=True))
