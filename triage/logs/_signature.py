"""A name for a failure that stays the same from run to run: its root line without what differs between runs.

Other rooms may rely on `sign_text`, `make_signature` and `mask_line`: within a ``VERSION`` a text keeps its signature.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

VERSION = "v1"
_MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d\b"), "<device>"),
    (re.compile(r"\bsha256:[0-9a-f]{8,}"), "<hash>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\(nil\)"), "<address>"),
    (re.compile(r"https?://[^\s'\")]+"), "<url>"),
    (re.compile(r"(?<![\w.])(?:/[\w.+@=~-]+){2,}/?"), "<path>"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "<hash>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}\b"), "<hash>"),
    (re.compile(r"(?<![A-Za-z_])[-+]?\d+(?:\.\d+)*(?:e[-+]?\d+)?"), "<n>"),
)
_NUMBER = re.compile(r"^[-+]?[\d.]+(?: [KMGT]i?B)?$")
_SPACE = re.compile(r"\s+")


def mask_line(text: str) -> str:
    """The line with times, addresses, paths, hashes and numbers masked.

    >>> mask_line("HW Exception by GPU node-9 (Agent handle: 0x34a5fb20) reason :GPU Hang")
    'HW Exception by GPU node-<n> (Agent handle: <address>) reason :GPU Hang'
    """
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return _SPACE.sub(" ", text).strip()[:400]


def make_signature(family: str, rule: str, masked: str) -> str:
    """The signature of a masked root line; its version changes whenever the masks do.

    >>> make_signature("unknown", "", "x")
    'v1:4e0c3fbe47d8'
    """
    digest = hashlib.sha256("\n".join((family, rule, masked)).encode()).hexdigest()
    return f"{VERSION}:{digest[:12]}"


def list_names(captures: Mapping[str, str]) -> tuple[str, ...]:
    """The captures that say what failed, in the order of the rule; numbers and sizes differ from run to run.

    >>> list_names({"status": "INVALID_ISA", "node": "7", "asked": "12.95 GiB"})
    ('INVALID_ISA',)
    """
    return tuple(value for value in captures.values() if not _NUMBER.match(value))
