"""Which names say that their value is a secret, and which values are none under any name."""

from __future__ import annotations

import itertools
import re
from enum import IntEnum
from functools import lru_cache

# What a name must hold to be looked at more closely; the quick test of a long text.
KEYWORD = re.compile(r"token|secret|passw|passphrase|credential|key|auth|cookie|pwd|dsn|webhook", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NO_SECRETS = frozenset({"pwd", "oldpwd", "key", "author"})  # the working folder; the key of a table
_STRONG = frozenset(
    {"secret", "secrets", "password", "passwd", "passphrase", "pwd", "credential", "credentials", "apikey", "authkey"}
)
_WEAK = frozenset({"token", "auth", "authorization", "cookie", "dsn", "key", "webhook"})
_KEY_KINDS = frozenset(
    {"api", "access", "private", "signing", "encryption", "account", "master", "deploy", "service", "ssh", "license"}
)
# Words that turn a weak name into one of language models: bos_token, max_tokens, num_key_value_heads, key_cache.
_MODEL_WORDS = frozenset(
    """
    added attention audio bos cache class cls config count dim end eos error file first foreign head heads id ids image
    implicit index last mask max min model name new next norm num pad partition per prev primary proj prompt query scale
    sep sha sort special start stop type unk value video vision wav weight weights
    """.split()  # noqa: SIM905 - words are read more easily
)
_SWITCH = re.compile(r"|0|1|true|false|yes|no|on|off|none|null|unset|auto|enabled?|disabled?", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_BRACKETED = re.compile(r"(<[^<>]*>|&lt;.*&gt;|\[[^\[\]]*\]|\{[^{}]*\}|\$\{?\w+\}?|\*+|x+|\.\.\.|…)", re.IGNORECASE)
_WEAK_CHARS = 8


class Strength(IntEnum):
    """How surely a name says that its value is a secret."""

    NONE = 0
    WEAK = 1  # TOKEN, KEY: also what language models and caches are full of
    STRONG = 2  # PASSWORD, SECRET, API_KEY


@lru_cache(maxsize=4096)
def rate_name(name: str) -> Strength:
    """How surely a variable, field or option of this name holds a secret.

    >>> [rate_name(n).name for n in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "TOKENIZERS_PARALLELISM", "bos_token")]
    ['STRONG', 'WEAK', 'NONE', 'NONE']
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    joined = "".join(words)
    if joined in _NO_SECRETS:
        return Strength.NONE
    if _STRONG & set(words) or any(strong in joined for strong in ("password", "apikey", "passphrase")):
        return Strength.STRONG
    if any(word in _KEY_KINDS and after == "key" for word, after in itertools.pairwise(words)):
        return Strength.STRONG
    if not _WEAK & set(words) or _MODEL_WORDS & set(words):
        return Strength.NONE
    return Strength.WEAK


def is_secret_name(name: str) -> bool:
    """Whether a name says that its value is a secret.

    >>> is_secret_name("VLLM_API_KEY"), is_secret_name("max_num_batched_tokens")
    (True, False)
    """
    return rate_name(name) > Strength.NONE


def is_plain(value: str, strength: Strength) -> bool:
    """Whether a value is no secret although its name says so: a switch, a path, a place-holder; a short or a number.

    >>> is_plain("false", Strength.STRONG), is_plain("hunter2", Strength.STRONG), is_plain("/run/k", Strength.WEAK)
    (True, False, True)
    """
    if _SWITCH.fullmatch(value) or _BRACKETED.fullmatch(value):
        return True
    if value.startswith(("/", "~/", "./", "../", "(not recorded")):
        return True  # the path of a key file is no key
    if strength is Strength.STRONG:
        return False
    return len(value) < _WEAK_CHARS or _NUMBER.fullmatch(value) is not None
