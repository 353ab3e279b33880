"""The results of runs in a folder, one whole file for each: written wherever the run was, read anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from triage.errors import InputError
from triage.files import make_folder, write_atomic
from triage.result import Family
from triage.verify._attempt import ArmName, Attempt, End, Seen
from triage.verify._run import Slot

_REFUSED = "refused-"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One result: the slot, the attempt, and the changed files that the run opened (None: nobody can tell)."""

    slot: str
    attempt: Attempt
    opened: tuple[str, ...] | None


class Results:
    """The results below a folder. A lost run leaves a file of its own and frees its slot for another try."""

    def __init__(self, folder: Path) -> None:
        self._folder = make_folder(folder / "results")
        self._known: dict[str, Stored] = {}  # a result does not change

    def write(self, slot: Slot, attempt: Attempt, opened: Sequence[Path] | None) -> None:
        """Keeps what a run showed."""
        name = self._name_lost(slot) if attempt.end is End.LOST else f"{slot.name}.json"
        record = {
            "slot": slot.name,
            "attempt": attempt.to_json(None),
            "seen": {one.signature: describe_seen(one) for one in attempt.seen},
            "opened": None if opened is None else [path.name for path in opened],
        }
        write_atomic(self._folder / name, json.dumps(record))

    def write_lost(self, slot: Slot, node: str) -> None:
        """Keeps that a run was lost with its node, or by a cancelled job."""
        arm = ArmName(slot.arm)
        self.write(slot, Attempt(arm=arm, index=slot.number, pair=slot.pair, end=End.LOST, node=node), None)

    def read(self) -> list[Stored]:
        """All results, by slot, a lost try before the one that took its place. Raises what `refuse` was told."""
        for path in self._folder.glob(f"{_REFUSED}*.json"):
            message, hint = json.loads(path.read_text(encoding="utf-8"))
            raise InputError(message, hint=hint)
        for path in self._folder.glob("[0-9]*.json"):
            if path.name not in self._known:
                self._known[path.name] = _read_result(path)
        return sorted(self._known.values(), key=lambda one: (one.slot, one.attempt.end is not End.LOST))

    def refuse(self, slot: Slot, error: InputError) -> None:
        """Keeps that a run cannot be made at all, for `read` to raise."""
        write_atomic(self._folder / f"{_REFUSED}{slot.name}.json", json.dumps([error.message, error.hint]))

    def has(self, slot: Slot) -> bool:
        """Whether the slot has a result that counts, or can have none."""
        return any((self._folder / f"{prefix}{slot.name}.json").exists() for prefix in ("", _REFUSED))

    def count_lost(self, slot: Slot) -> int:
        """How many tries of the slot were lost."""
        return len(list(self._folder.glob(f"{slot.name}.lost-*.json")))

    def _name_lost(self, slot: Slot) -> str:
        return f"{slot.name}.lost-{self.count_lost(slot) + 1}.json"


def _read_result(path: Path) -> Stored:
    record = json.loads(path.read_text(encoding="utf-8"))
    opened = record["opened"]
    attempt = read_attempt(record["attempt"], record["seen"])
    return Stored(slot=record["slot"], attempt=attempt, opened=None if opened is None else tuple(opened))


def list_attempts(stored: Sequence[Stored]) -> tuple[Attempt, ...]:
    """The attempts in the order of their slots, numbered anew: a lost try and its successor are two attempts."""
    return tuple(replace(one.attempt, index=number) for number, one in enumerate(stored))


def describe_seen(seen: Seen) -> dict[str, Any]:
    """A failure as records have it, without its signature."""
    return {"family": seen.family.value, "infra": seen.infra, "line": seen.line}


def read_attempt(fields: Mapping[str, Any], signatures: Mapping[str, Mapping[str, Any]]) -> Attempt:
    """The attempt that `Attempt.to_json` wrote, with the failures that its signatures stand for.

    Raises `InputError` for a record that is none.
    """
    try:
        return Attempt(
            arm=ArmName(fields["arm"]),
            index=int(fields["index"]),
            pair=int(fields["pair"]),
            end=End(fields["end"]),
            returncode=fields["returncode"],
            seen=tuple(_read_seen(one, signatures[one]) for one in fields["signatures"]),
            seconds=float(fields["seconds"]),
            node=str(fields["node"]),
            started=str(fields["started"]),
            log=str(fields["log"]),
            log_sha256=str(fields["log_sha256"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"Attempt {fields.get('index', '?')} is no attempt ({type(error).__name__}: {error}).",
            hint="Take the receipt as triage wrote it.",
        ) from None


def _read_seen(signature: str, fields: Mapping[str, Any]) -> Seen:
    return Seen(
        signature=signature, family=Family(fields["family"]), infra=bool(fields["infra"]), line=str(fields["line"])
    )
