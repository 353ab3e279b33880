"""Where triage keeps what it has built or fetched: tiny checkpoints, historical versions."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def find_cache() -> Path:
    """The cache folder: ``TRIAGE_CACHE`` where it is set, else the user's cache. It need not exist yet.

    >>> find_cache().is_absolute()
    True
    """
    return Path(os.environ.get("TRIAGE_CACHE") or platformdirs.user_cache_path("triage")).absolute()
