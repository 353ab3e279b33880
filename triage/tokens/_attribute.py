"""Which stages of the tokenizer make two snapshots part: found by swapping them and encoding again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

from triage.errors import SnapshotError
from triage.tokens._compare import find_divergence
from triage.tokens._shorten import shorten_text
from triage.tokens._snapshots import Snapshot
from triage.tokens._stages import FINISHING, Stage, Swapper, read_encoded
from triage.tokens._trial import translate_errors


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """The stages that explain a difference.

    ``stages`` is the smallest set that, taken from A into B, makes B encode every compared text exactly as A; empty
    where nothing differs, None where no set does. ``witnesses`` are the shortened texts it was worked out on, and
    ``encodings`` how many texts that took, without the shortening. ``differing`` are all stages whose definitions
    differ, whether or not they matter here.
    """

    stages: tuple[Stage, ...] | None
    witnesses: tuple[str, ...]
    differing: tuple[Stage, ...]
    encodings: int


def attribute_difference(a: Snapshot, b: Snapshot, texts: Sequence[str]) -> Attribution:
    """The smallest set of stages that makes ``b`` encode all texts as ``a``, by ids and tokens.

    The sets are tried by size on shortened texts, which is cheap; a set that agrees there is tried on all texts, and
    where one of them still differs, its shortened form joins. A short text can need more stages than the whole one, in
    which truncation hides what it shows. So smaller sets are tried once more, on the shortest whole text that differs:
    what is returned explains all texts, and no smaller set does.

    >>> from pathlib import Path
    >>> from tokenizers import Tokenizer, models, normalizers
    >>> plain, lower = (Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")) for _ in range(2))
    >>> lower.normalizer = normalizers.Lowercase()
    >>> attribution = attribute_difference(Snapshot("a", Path(), plain), Snapshot("b", Path(), lower), ["A"])
    >>> [str(stage) for stage in attribution.stages]
    ['normalizer']
    """
    search = _Search(a, b, texts)
    shortest = search.find_differing(())
    if shortest is None:
        return search.conclude(())
    stages = search.find_by_witnesses()
    for smaller in search.list_sets():
        if stages is not None and 0 < len(smaller) < len(stages) and search.explains(smaller, shortest=shortest.text):
            return search.conclude(smaller)
    return search.conclude(stages)


class _Search:
    """The state of one attribution: the texts, what A makes of them, and the witnesses so far."""

    def __init__(self, a: Snapshot, b: Snapshot, texts: Sequence[str]) -> None:
        self._a, self._b = a, b
        self._texts = list(texts)
        b.check_texts(self._texts)
        self._wanted = a.encode_batch(self._texts)
        self._swapper = Swapper(a, b)
        self._witnesses: list[str] = []
        self._ruled_out: Counter[str] = Counter()
        self._found: dict[tuple[Stage, ...], _Difference | None] = {}

    def list_sets(self) -> list[tuple[Stage, ...]]:
        """All sets of stages that differ, by size."""
        stages = self._swapper.differing
        return [chosen for size in range(len(stages) + 1) for chosen in combinations(stages, size)]

    def find_by_witnesses(self) -> tuple[Stage, ...] | None:
        """The first set that agrees on every witness and explains all texts; gathers the witnesses on the way."""
        for stages in self.list_sets():
            while self._agrees_on(self._witnesses, stages):
                left = self.find_differing(stages)
                if left is None:
                    return stages
                if not self._add_witness(left, stages):
                    break
        return None

    def explains(self, stages: tuple[Stage, ...], *, shortest: str) -> bool:
        """Whether a set explains all texts; asks some of them first, which settles most."""
        whole = {shortest, *(witness for witness in self._witnesses if witness in self._texts)}
        return self._agrees_on(whole, stages) and self.find_differing(stages) is None

    def find_differing(self, stages: tuple[Stage, ...]) -> _Difference | None:
        """The shortest text that B with these stages of A still encodes in another way, None if there is none.

        The one question that all texts are encoded for, so its answers are kept.
        """
        if stages not in self._found:
            self._found[stages] = self._compare(stages)
        return self._found[stages]

    def conclude(self, stages: tuple[Stage, ...] | None) -> Attribution:
        return Attribution(
            stages=stages,
            witnesses=tuple(self._witnesses),
            differing=self._swapper.differing,
            encodings=self._swapper.encodings,
        )

    def _compare(self, stages: tuple[Stage, ...]) -> _Difference | None:
        try:
            with translate_errors(self._b.name):
                got = self._swapper.build(stages).encode_batch(self._texts)
        except SnapshotError:
            if not stages:
                raise  # B itself cannot encode these texts
            return _Difference(text=min(self._texts, key=len), span=None)  # the parts do not fit: they explain nothing
        differing = [
            (text, ours, theirs)
            for text, ours, theirs in zip(self._texts, self._wanted, got, strict=True)
            if ours.ids != theirs.ids or ours.tokens != theirs.tokens
        ]
        if not differing:
            return None
        text, ours, theirs = min(differing, key=lambda pair: len(pair[0]))
        place = find_divergence(text, ours, theirs)
        return _Difference(text=text, span=None if place is None else (place.char_start, place.char_end))

    def _agrees_on(self, texts: Collection[str], stages: Sequence[Stage]) -> bool:
        """Whether a set agrees on each of these. What costs no encoding is asked first, then what ruled out most.

        One whose pieces are wrong rules out a set whatever finishes them, without another encoding.
        """
        for text in sorted(texts, key=lambda t: (not self._swapper.is_known(t, stages), -self._ruled_out[t])):
            if not self._agrees(text, stages):
                self._ruled_out[text] += not self._agrees(text, {*stages, *FINISHING})
                return False
        return True

    def _agrees(self, text: str, stages: Collection[Stage]) -> bool:
        try:
            return self._swapper.encode(text, stages) == self._swapper.encode(text, self._swapper.differing)
        except SnapshotError:
            return False

    def _add_witness(self, left: _Difference, stages: Sequence[Stage]) -> bool:
        """Shortens a text that differs under these stages. False where that rules nothing out, so that a loop ends."""
        try:
            partly = self._swapper.build(stages)
        except SnapshotError:
            return False

        def differs(part: str) -> bool:
            try:
                with translate_errors(self._a.name, part):  # not in a child: the whole text has been tried
                    return read_encoded(self._a.tokenizer.encode(part)) != read_encoded(partly.encode(part))
            except SnapshotError:
                return False

        self._witnesses.append(shorten_text(left.text, differs, span=left.span))
        return not self._agrees(self._witnesses[-1], stages)


@dataclass(frozen=True, kw_only=True)
class _Difference:
    """A text that two tokenizers encode in different ways, and the characters where they part first."""

    text: str
    span: tuple[int, int] | None
