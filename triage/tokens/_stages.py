"""The stages of a tokenizer, taken apart and put together again."""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import StrEnum
from typing import Any, TypeAlias

from tokenizers import Encoding, Tokenizer

from triage.errors import SnapshotError
from triage.tokens._snapshots import Snapshot
from triage.tokens._trial import translate_errors


class Stage(StrEnum):
    """What a text passes through; ``tokenizer.json`` has a section of the same name for each."""

    ADDED_TOKENS = "added_tokens"
    NORMALIZER = "normalizer"
    PRE_TOKENIZER = "pre_tokenizer"
    MODEL = "model"
    POST_PROCESSOR = "post_processor"
    TRUNCATION = "truncation"


# These two act on finished pieces: exchanging them needs no new encoding of the text.
FINISHING = frozenset({Stage.POST_PROCESSOR, Stage.TRUNCATION})
_MIXED = "A mixture of the two snapshots"
_EMPTY_MODEL = '{"type": "WordLevel", "vocab": {}, "unk_token": ""}'

Encoded: TypeAlias = tuple[tuple[int, ...], tuple[str, ...]]


def read_encoded(encoding: Encoding) -> Encoded:
    """What encodings are compared by: ids and tokens. Offsets are no part of what a model sees."""
    return tuple(encoding.ids), tuple(encoding.tokens)


def read_definition(snapshot: Snapshot) -> dict[str, Any]:
    """The sections of a snapshot's ``tokenizer.json``, in the canonical form that tokenizers itself writes."""
    definition: dict[str, Any] = json.loads(snapshot.tokenizer.to_str())
    return definition


def change_stage(snapshot: Snapshot, stage: Stage, definition: object) -> Snapshot:
    """The snapshot with another definition of one of its stages; with None as if a normalizer, say, were skipped."""
    whole = read_definition(snapshot) | {stage.value: definition}
    return Snapshot(f"{snapshot.name} with another {stage}", snapshot.folder, Tokenizer.from_str(json.dumps(whole)))


class Swapper:
    """Two snapshots whose stages can be exchanged; ``encodings`` counts the texts encoded, the cost of an attribution.

    At most 16 encodings for a text, whatever is asked: four stages act before the pieces are there.
    """

    def __init__(self, a: Snapshot, b: Snapshot) -> None:
        self._a, self._b = (read_definition(snapshot) for snapshot in (a, b))
        self.encodings = 0
        self._pieces: dict[tuple[str, frozenset[Stage]], Encoding] = {}
        self._tokenizers: dict[tuple[frozenset[Stage], bool], Tokenizer] = {}

    @property
    def differing(self) -> tuple[Stage, ...]:
        """The stages whose definitions differ, in the order of the pipeline."""
        return tuple(stage for stage in Stage if self._a[stage] != self._b[stage])

    def is_known(self, text: str, swapped: Collection[Stage]) -> bool:
        """Whether `encode` has the pieces of this already, and so costs no encoding."""
        return (text, frozenset(swapped) - FINISHING) in self._pieces

    def encode(self, text: str, swapped: Collection[Stage]) -> Encoded:
        """The text under B with these stages taken from A: with none it is B, with all it is A.

        Raises `SnapshotError` where the parts do not fit together, such as an added token with an id of its own that
        the other model gives to another piece.
        """
        stages = frozenset(swapped)
        key = (text, stages - FINISHING)
        if key not in self._pieces:
            tokenizer = self._assemble(stages - FINISHING, finishing=False)
            self.encodings += 1
            with translate_errors(_MIXED, text):
                self._pieces[key] = tokenizer.encode(text, add_special_tokens=False)
        with translate_errors(_MIXED, text):
            return read_encoded(self._assemble(stages & FINISHING, finishing=True).post_process(self._pieces[key]))

    def build(self, swapped: Collection[Stage]) -> Tokenizer:
        """The whole tokenizer B with these stages taken from A. Raises `SnapshotError` as `encode` does."""
        return self._parse({stage: (self._a if stage in swapped else self._b)[stage] for stage in Stage})

    def _assemble(self, swapped: frozenset[Stage], *, finishing: bool) -> Tokenizer:
        """The half of the pipeline that makes the pieces, or the half that finishes them."""
        if (swapped, finishing) not in self._tokenizers:
            sections = {
                stage: (self._a if stage in swapped else self._b)[stage]
                for stage in Stage
                if (stage in FINISHING) is finishing
            }
            self._tokenizers[swapped, finishing] = self._parse(sections)
        return self._tokenizers[swapped, finishing]

    def _parse(self, sections: dict[Stage, object]) -> Tokenizer:
        whole: dict[str, object] = {"version": "1.0", "padding": None, "decoder": None}
        whole |= {stage.value: sections.get(stage) for stage in Stage}
        whole["added_tokens"] = sections.get(Stage.ADDED_TOKENS, [])
        whole["model"] = sections.get(Stage.MODEL, json.loads(_EMPTY_MODEL))
        try:
            with translate_errors(_MIXED):
                return Tokenizer.from_str(json.dumps(whole))
        except SnapshotError as error:
            raise SnapshotError(
                f"The parts of the two snapshots do not fit together: {error.__cause__}.",
                hint="Swap another set of stages.",
            ) from error
