"""Sets a checkpoint's keys beside those that are wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from triage.checkpoints._fold import FoldedKeys, fold_keys

_FEWEST_LINES = 3


class KeyStatus(StrEnum):
    """What becomes of a key. As in ``load_state_dict``: missing is wanted and not there, unexpected the reverse."""

    MATCHED = "matched"
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    MISMATCHED = "mismatched"
    IGNORED = "ignored"


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A tensor whose name fits and whose shape does not; ``name`` is what it is loaded under."""

    key: str
    checkpoint_shape: tuple[int, ...]
    model_shape: tuple[int, ...]
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class KeyDiff:
    """The keys of a checkpoint by what becomes of them.

    ``matched``, ``unexpected`` and ``ignored`` lead from the checkpoint's key to the name it is loaded under (None:
    dropped); ``missing`` holds names of the model.
    """

    matched: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: Mapping[str, str]
    mismatched: tuple[Mismatch, ...]
    ignored: Mapping[str, str | None]

    @property
    def whole(self) -> bool:
        """Whether every tensor has its place and every place its tensor."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def counts(self) -> dict[KeyStatus, int]:
        """How many keys have each status.

        >>> compare_keys({"a": (1,), "b": (1,)}, {"a": (1,)}).counts[KeyStatus.UNEXPECTED]
        1
        """
        return {status: len(getattr(self, status.value)) for status in KeyStatus}

    def describe(self) -> str:
        """How many keys have each status, in words, none left out.

        >>> compare_keys({"a": (1,), "b": (1,)}, {"a": (1,)}).describe()
        '1 matched, 0 missing, 1 unexpected, 0 mismatched, 0 ignored'
        """
        return ", ".join(f"{count:,} {status}" for status, count in self.counts.items())

    def fold(self, *, max_lines: int = 24) -> list[tuple[KeyStatus, FoldedKeys]]:
        """What does not fit, and what is left out, as at most about ``max_lines`` lines; what matches is no line.

        >>> compare_keys({"a.0.w": (1,), "a.1.w": (1,)}, {"a.0.w": (2,), "a.1.w": (2,)}).fold()[0][1].text
        'a.{0..1}.w: [1], not [2]'
        """
        groups = {
            KeyStatus.MISSING: self.missing,
            KeyStatus.UNEXPECTED: tuple(self.unexpected),
            KeyStatus.MISMATCHED: tuple(entry.key for entry in self.mismatched),
            KeyStatus.IGNORED: tuple(self.ignored),
        }
        room = max(_FEWEST_LINES, max_lines // max(1, sum(bool(keys) for keys in groups.values())))
        lines = {status: fold_keys(keys, max_lines=room) for status, keys in groups.items()}
        lines[KeyStatus.MISMATCHED] = self._fold_mismatched(room) or lines[KeyStatus.MISMATCHED]
        return [(status, line) for status, folded in lines.items() for line in folded]

    def _fold_mismatched(self, room: int) -> list[FoldedKeys]:
        """A line for the keys of each two shapes; none where that is more than there is room for."""
        by_shapes: dict[tuple[tuple[int, ...], ...], list[str]] = defaultdict(list)
        for entry in self.mismatched:
            by_shapes[entry.checkpoint_shape, entry.model_shape].append(entry.key)
        lines = [
            FoldedKeys(line.count, f"{line.text}: {list(own)}, not {list(wanted)}")
            for (own, wanted), keys in by_shapes.items()
            for line in fold_keys(keys, max_lines=room)
        ]
        return lines if len(lines) <= room else []


def compare_keys(
    checkpoint: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    *,
    mapped: Mapping[str, str | None] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> KeyDiff:
    """Sets the shapes of a checkpoint, by key, beside the shapes that are expected, by name.

    ``mapped`` says under which name each key is loaded (None drops it; without it, under its own); ``aliases`` are
    second names of tied weights, which may be there and need not.

    >>> diff = compare_keys({"old.a": (2,), "b": (3,)}, {"new.a": (2,), "b": (4,)})
    >>> diff.missing, dict(diff.unexpected), diff.mismatched[0].model_shape
    (('new.a',), {'old.a': 'old.a'}, (4,))
    """
    matched: dict[str, str] = {}
    unexpected: dict[str, str] = {}
    ignored: dict[str, str | None] = {}
    mismatched: list[Mismatch] = []
    reached: set[str] = set()
    second_names = aliases or {}
    for key, shape in checkpoint.items():
        name = key if mapped is None else mapped[key]
        if name is None or name in second_names:
            ignored[key] = name
        elif name not in expected:
            unexpected[key] = name
        elif expected[name] != shape:
            mismatched.append(Mismatch(key=key, checkpoint_shape=shape, model_shape=expected[name], name=name))
            reached.add(name)
        else:
            matched[key] = name
            reached.add(name)
    return KeyDiff(
        matched=matched,
        missing=tuple(name for name in expected if name not in reached),
        unexpected=unexpected,
        mismatched=tuple(mismatched),
        ignored=ignored,
    )
