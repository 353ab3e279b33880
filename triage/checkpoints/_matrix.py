"""A checkpoint under every pair of versions: since when it does not load, since when it does, and by which rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from triage.checkpoints._explain import explain_end
from triage.checkpoints._fold import fold_layers
from triage.checkpoints._model import ModelDiff, judge_ends, request_weights
from triage.engine.history import INSTALLED, VersionPair, find_versions
from triage.engine.weights import ModelImpl, Step, WeightMap, WeightRequest, map_many_weights
from triage.errors import InputError, TriageError
from triage.result import Verdict

if TYPE_CHECKING:
    import pandas as pd

_WORKERS = 2  # each takes a core and about 1 GiB


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """One pair of versions. ``compared`` None: the pair could not say, for the ``reason``."""

    vllm: str
    transformers: str
    compared: ModelDiff | None = None
    reason: str | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the keys stop the checkpoint from loading whole.

        >>> MatrixRow(vllm="0.21.0", transformers="5.8.1", reason="no network").verdict.value
        'INCONCLUSIVE'
        """
        if self.compared is None:
            return Verdict.INCONCLUSIVE
        fits = self.compared.diff.whole and self.compared.weights.load_error is None
        return Verdict.NOT_REPRODUCED if fits else Verdict.REPRODUCED

    @property
    def label(self) -> str:
        """How sentences name the pair."""
        return VersionPair(vllm=self.vllm, transformers=self.transformers).label

    def to_json(self) -> dict[str, Any]:
        """The row as data; counts are null where the pair could not say."""
        diff = self.compared.diff if self.compared else None
        return {
            "vllm": self.vllm,
            "transformers": self.transformers,
            "matched": len(diff.matched) if diff else None,
            "missing": len(diff.missing) if diff else None,
            "unexpected": len(diff.unexpected) if diff else None,
            "mismatched": len(diff.mismatched) if diff else None,
            "ignored": len(diff.ignored) if diff else None,
            "verdict": self.verdict.value,
            "model_class": self.compared.weights.model_class if self.compared else None,
            "load_error": self.compared.weights.load_error if self.compared else None,
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A checkpoint under pairs of versions, oldest first, and what changed between them."""

    rows: tuple[MatrixRow, ...]
    sentences: tuple[str, ...]

    @property
    def explanation(self) -> str:
        """The sentences as one text."""
        return " ".join(self.sentences)

    @property
    def verdict(self) -> Verdict:
        """`REPRODUCED` where a pair refuses the keys, `INCONCLUSIVE` where a pair could not say."""
        verdicts = {row.verdict for row in self.rows}
        for verdict in (Verdict.INCONCLUSIVE, Verdict.REPRODUCED):
            if verdict in verdicts:
                return verdict
        return Verdict.NOT_REPRODUCED

    def tabulate(self) -> pd.DataFrame:
        """One row for each pair: versions, counts of keys, verdict, and, where one could not say, why."""
        import pandas as pd

        columns = ["vllm", "transformers", "matched", "missing", "unexpected", "mismatched", "verdict", "reason"]
        frame = pd.DataFrame([row.to_json() for row in self.rows], columns=columns)
        return frame.dropna(axis="columns", how="all").rename(columns={"vllm": "vLLM", "transformers": "Transformers"})

    def to_json(self) -> dict[str, Any]:
        """The matrix as data."""
        return {"rows": [row.to_json() for row in self.rows], "explanation": self.explanation}


def compare_versions(
    checkpoint: Path,
    *,
    vllm: Sequence[str] = (INSTALLED,),
    transformers: Sequence[str] = (INSTALLED,),
    model: Path | None = None,
    model_impl: ModelImpl = ModelImpl.TRANSFORMERS,
    on_progress: Callable[[str], None] | None = None,
) -> Matrix:
    """The key diff of a checkpoint for each vLLM with each Transformers, and what changed from the last to the first.

    A version is a number, ``installed``, or the path of a checkout. Versions that are not in the cache are fetched one
    by one; then two pairs at a time are asked. A version that does not exist or a pair that does not fit together is a
    row that says so. ``on_progress`` gets a sentence at each step, from any thread.

    Raises `CheckpointError` for a broken checkpoint and `InputError` for what is no version at all.

    ::

        compare_versions(folder, vllm=["0.23.0", "installed"], transformers=["5.12.0"]).explanation
    """
    tell = on_progress or (lambda _: None)
    request = _request(checkpoint, model=model, model_impl=model_impl)
    pairs = list(_find_pairs(vllm, transformers, tell))
    asked = [entry for entry in pairs if isinstance(entry, VersionPair)]
    done = [entry for entry in pairs if isinstance(entry, MatrixRow)]

    def ask(pair: VersionPair) -> MatrixRow:
        tell(f"asking {pair.label}")
        row = _ask(pair, request)
        tell(f"{pair.label}: {row.verdict.value}")
        return row

    with ThreadPoolExecutor(max_workers=_WORKERS) as executor:
        done += executor.map(ask, asked)
    rows = sorted(done, key=lambda row: (_rank(row.vllm), _rank(row.transformers)))
    return Matrix(rows=tuple(rows), sentences=tuple(explain_rows(rows)))


def _request(checkpoint: Path, *, model: Path | None, model_impl: ModelImpl) -> WeightRequest:
    """One key of each kind is traced: layers are alike, and a trace of every key is long."""
    plain = request_weights(checkpoint, model=model, model_impl=model_impl)
    first: dict[str, str] = {}
    for key in plain.tensors:
        first.setdefault("*".join(part for part in key.split(".") if not part.isdigit()), key)
    return request_weights(checkpoint, model=model, model_impl=model_impl, trace=tuple(first.values()))


def _find_pairs(
    vllm: Sequence[str], transformers: Sequence[str], tell: Callable[[str], None]
) -> Iterator[VersionPair | MatrixRow]:
    """Each pair, or the row of one that cannot be had. A version is fetched, and fails, once."""
    failed: dict[tuple[str, str], str] = {}
    names: dict[tuple[str, str], str] = {}
    wanted = {"vllm": dict.fromkeys(vllm), "transformers": dict.fromkeys(transformers)}
    for package, versions in wanted.items():
        for version in versions:
            if version != INSTALLED:
                tell(f"looking for {package} {version}, in the cache or on the index")
            try:
                names[package, version] = getattr(find_versions(**{package: version}), package)
            except InputError:
                raise
            except TriageError as error:
                failed[package, version], names[package, version] = str(error), Path(version).name
    for one, other in product(wanted["vllm"], wanted["transformers"]):
        if reason := failed.get(("vllm", one)) or failed.get(("transformers", other)):
            yield MatrixRow(vllm=names["vllm", one], transformers=names["transformers", other], reason=reason)
        else:
            yield find_versions(vllm=one, transformers=other)


def _ask(pair: VersionPair, request: WeightRequest) -> MatrixRow:
    answer: WeightMap | TriageError
    try:
        (answer,) = map_many_weights([request], versions=pair)
    except TriageError as error:
        answer = error
    if isinstance(answer, TriageError):
        return MatrixRow(vllm=pair.vllm, transformers=pair.transformers, reason=str(answer))
    compared = judge_ends(request, answer)
    return MatrixRow(vllm=pair.vllm, transformers=pair.transformers, compared=compared)


def _rank(text: str) -> tuple[int, Version]:
    """Numbers in their order; a checkout, which has none, after them."""
    try:
        return 0, Version(text)
    except InvalidVersion:
        return 1, Version("0")


def explain_rows(rows: Sequence[MatrixRow]) -> list[str]:
    """In words: which pairs load, where along one version that changes, and by which rule; and which could not say."""
    known = [row for row in rows if row.compared is not None]
    unknown = [row for row in rows if row.compared is None]
    sentences = [_count(known)] if known else ["No pair could say."]
    turns = list(_find_turns(known))
    sentences += _explain_turns(turns)
    if not turns and len({row.verdict for row in known}) > 1:
        bad = next(row for row in known if row.verdict is Verdict.REPRODUCED)
        good = next(row for row in known if row.verdict is Verdict.NOT_REPRODUCED)
        sentences.append(_explain_turn(*sorted((bad, good), key=known.index)))
    if len({row.verdict for row in known}) == 1 and known[0].verdict is Verdict.REPRODUCED:
        sentences.append(_explain_bad(known[-1]))
    if unknown:
        sentences.append(f"{', '.join(row.label for row in unknown)} could not say: {unknown[0].reason}")
    return sentences


def _count(known: Sequence[MatrixRow]) -> str:
    bad = [row for row in known if row.verdict is Verdict.REPRODUCED]
    if not bad:
        return (
            f"Each of the {len(known)} pairs loads every key."
            if len(known) > 1
            else f"{known[0].label} loads every key."
        )
    if len(bad) == len(known):
        return f"None of the {len(known)} pairs loads the checkpoint whole."
    return f"{len(bad)} of {len(known)} pairs do not load the checkpoint whole."


def _find_turns(known: Sequence[MatrixRow]) -> Iterator[tuple[MatrixRow, MatrixRow]]:
    """Neighbours along one version, the other held, with another verdict."""
    for fixed, moving in (("transformers", "vllm"), ("vllm", "transformers")):
        for value in dict.fromkeys(getattr(row, fixed) for row in known):
            line = sorted((r for r in known if getattr(r, fixed) == value), key=lambda r: _rank(getattr(r, moving)))
            for before, after in pairwise(line):
                if before.verdict is not after.verdict:
                    yield before, after


def _explain_turns(turns: Sequence[tuple[MatrixRow, MatrixRow]]) -> Iterator[str]:
    """Each turn; one that another version of the other package has seen already is not explained again."""
    seen: set[tuple[str, ...]] = set()
    for before, after in turns:
        moved, held = (
            ("vllm", "transformers") if before.transformers == after.transformers else ("transformers", "vllm")
        )
        turn = (moved, getattr(before, moved), getattr(after, moved), before.verdict.value)
        if turn in seen:
            title = {"vllm": "vLLM", "transformers": "Transformers"}[held]
            yield f"The same with {title} {getattr(before, held)}."
        else:
            seen.add(turn)
            yield _explain_turn(before, after)


def _explain_turn(before: MatrixRow, after: MatrixRow) -> str:
    bad, good = (before, after) if before.verdict is Verdict.REPRODUCED else (after, before)
    head = (
        f"First bad: {bad.label}; {good.label} still loads it."
        if after is bad
        else f"First good: {good.label}; {bad.label} does not load it."
    )
    return f"{head} {explain_change(bad, good)}"


def _explain_bad(row: MatrixRow) -> str:
    compared = row.compared
    key = _find_affected(compared) if compared else None
    if compared is None or key is None:
        return f"{row.label}: {compared.describe() if compared else row.reason}."
    return f"{row.label}: {explain_end(compared, key)}"


def _find_affected(compared: ModelDiff) -> str | None:
    """A traced key that reaches no parameter, or one whose shape does not fit."""
    lost = [*compared.diff.unexpected, *(entry.key for entry in compared.diff.mismatched)]
    return next((key for key in lost if key in compared.weights.traces and key not in compared.weights.gaps), None)


def explain_change(bad: MatrixRow, good: MatrixRow) -> str:
    """What of one pair, taken to the other, decides: a rule, its place among the others, or the model's own class."""
    if bad.compared is None or good.compared is None:
        return "One of the two could not say."
    ours, theirs = bad.compared.weights, good.compared.weights
    key = _find_affected(bad.compared)
    if key is None or key not in theirs.traces or key in theirs.gaps:
        lacking = ", ".join(fold_layers(bad.compared.diff.missing)[:2]) or ours.load_error or "nothing is named"
        return f"No key is lost; what {bad.label} lacks: {lacking}."
    there, here = ours.mapped[key], theirs.mapped[key]
    if there == here:
        return (
            f"The rules lead {key} to {there} in both; {theirs.model_class} has that parameter under {good.label}, and "
            f"{'it' if ours.model_class == theirs.model_class else ours.model_class} has none of that name under "
            f"{bad.label}: the model's class changed, no rule did."
        )
    taken = [str(step.rule) for step in ours.traces[key] if step.changed]
    for number, step in enumerate(theirs.traces[key], start=1):
        if step.changed and str(step.rule) not in taken:
            return _explain_rule(step, number, key, bad, good)
    return f"{key} ends as {here} under {good.label} and as {there} under {bad.label}."


def _explain_rule(step: Step, number: int, key: str, bad: MatrixRow, good: MatrixRow) -> str:
    """The rule by which the good pair departs, and what became of it in the bad one."""
    if bad.compared is None or good.compared is None:
        return ""
    ours, theirs = bad.compared.weights, good.compared.weights
    same = next((place for place, rule in enumerate(ours.rules, start=1) if rule == step.rule), None)
    lack = "does not have" if same is None else f"has as its rule {same}, without effect on this key"
    return (
        f"{key} ends as {theirs.mapped[key]} under {good.label}, by rule {number} (`{step.rule}`), "
        f"which {bad.label} {lack}. There, {explain_end(bad.compared, key)}"
    )
