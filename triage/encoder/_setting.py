"""A setting: the engine arguments that decide what start-up profiling runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from triage.encoder._plan import EncoderPlan, plan_encoder


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One of the settings that a report compares.

    ``limits`` is vLLM's ``limit_mm_per_prompt``; ``own`` are engine arguments of this setting alone, ``common`` those
    that it shares with the others.

    >>> few = Setting(name="explicit", limits={"image": 1}, own=["--max-num-seqs", "2"])
    >>> few.label
    "explicit {'image': 1} --max-num-seqs 2"
    >>> few.engine_args
    ('--max-num-seqs', '2', '--limit-mm-per-prompt', '{"image": 1}')
    """

    name: str
    limits: Mapping[str, int]
    own: Sequence[str] = ()
    common: Sequence[str] = ()

    @property
    def label(self) -> str:
        """How tables and pictures name it."""
        return " ".join([self.name, str(dict(self.limits)), *self.own])

    @property
    def engine_args(self) -> tuple[str, ...]:
        """All of it, as on the server's command line."""
        return (*self.common, *self.own, "--limit-mm-per-prompt", json.dumps(dict(self.limits)))


def plan_setting(model: Path, setting: Setting) -> EncoderPlan:
    """Asks vLLM what start-up would profile under a setting. Raises as `plan_encoder`."""
    return plan_encoder(model, limit_mm_per_prompt=setting.limits, engine_args=[*setting.common, *setting.own])
