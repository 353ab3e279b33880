"""Variables and JSON: where names are known, a value is judged by its name as well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triage.redaction._machine import find_user, list_paths
from triage.redaction._names import Strength, is_plain, rate_name
from triage.redaction._shapes import is_random_hex
from triage.redaction._text import NOT_RECORDED, redact_text

_PERSON = re.compile(
    r"(SUDO_|GIT_(AUTHOR|COMMITTER)_|BUILDKITE_BUILD_(CREATOR|AUTHOR)(_EMAIL)?|.*_)?(USER(NAME)?|LOGNAME)"
)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_MACHINE = re.compile(
    r"HOST(NAME)?|.*_(HOST|HOSTNAME|HOST_IP|NODE_?NAME|NODELIST|NODEADDR|POD_NAME|CONTAINER_NAME|PROXY|INDEX_URL)"
    r"|(POD|CONTAINER|NODE|COMPUTER)_?NAME|SSH_(CONNECTION|CLIENT|TTY)|(http|https|ftp|all|no)_proxy"
)
_LOCAL = re.compile(r"|localhost|127\.[\d.]+|::1|0\.0\.0\.0|https://(index\.)?(pypi|download\.pytorch)\.org/.*")


def redact_value(name: str, value: str) -> str:
    """The value of a variable: `NOT_RECORDED` for a secret, else with paths, user and host names folded.

    >>> redact_value("VLLM_API_KEY", "letmein"), redact_value("HSA_ENABLE_SDMA", "0"), redact_value("USER", "alice")
    ('(not recorded)', '0', '(user)')
    """
    strength = rate_name(name)
    if strength is not Strength.NONE and not is_plain(value, strength):
        return NOT_RECORDED
    if is_random_hex(name, value):
        return NOT_RECORDED
    if _PERSON.fullmatch(name) and not name.startswith(("VLLM_", "HF_")) and value not in {"", "root"}:
        return "(user)"
    if _MACHINE.fullmatch(name) and not _LOCAL.fullmatch(value):
        return "(host)"
    return _MAIL.sub("(mail)", redact_text(value)) if name.startswith(("GIT_", "BUILDKITE_")) else redact_text(value)


def redact_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Every variable redacted, by name.

    >>> redact_variables({"HF_TOKEN": "x" + "y1" * 8, "OMP_NUM_THREADS": "8"})
    {'HF_TOKEN': '(not recorded)', 'OMP_NUM_THREADS': '8'}
    """
    return {name: redact_value(name, value) for name, value in variables.items()}


def redact_json(value: Any, *, name: str = "") -> Any:
    """JSON of any depth redacted: texts by the name they stand under and by their shape, names of fields too.

    >>> redact_json({"env": [{"api_key": "hunter2hunter2"}], "max_tokens": 16})
    {'env': [{'api_key': '(not recorded)'}], 'max_tokens': 16}
    """
    match value:
        case str():
            return redact_value(name, value) if name else redact_text(value)
        case Mapping():
            return {redact_text(str(key)): redact_json(held, name=str(key)) for key, held in value.items()}
        case list() | tuple():
            return [redact_json(held, name=name) for held in value]
        case int() | float() if rate_name(name) is Strength.STRONG and not isinstance(value, bool) and value > 1:
            return NOT_RECORDED
        case _:
            return value


@dataclass(frozen=True)
class _Put:
    """Puts a path behind what the match keeps; in a path a backslash means itself."""

    path: str

    def __call__(self, match: re.Match[str]) -> str:
        return match[1] + self.path


def unfold_paths(text: str) -> str:
    """The text with this machine's own paths back in place of `~`, ``$TRIAGE_CACHE`` and the like.

    >>> from pathlib import Path
    >>> unfold_paths("~/models") == f"{Path.home()}/models"
    True
    """
    for path, name in list_paths().items():
        text = re.sub(rf"(^|[:=\s,]){re.escape(name)}(?=/|:|$)", _Put(path), text)
    user = find_user()
    return text if user is None else text.replace("(user)", user)
