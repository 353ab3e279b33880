"""Failures of many runs that are one failure: the same after masking, or nearly so."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from triage.errors import MissingDependencyError
from triage.logs._failure import Failure
from triage.logs._runs import JobRun
from triage.result import Family

NEARNESS = 90.0  # of 100; two wordings of one failure by two versions of vLLM have 92 and more
_CUT = ("...", "…")
_CUT_CHARS = 24  # a shorter beginning says too little
# Words by which two alike lines differ in kind: what is quoted, the exception, a status in capitals.
_NAMES = re.compile(
    r"['\"`]([A-Za-z_][A-Za-z_.]*)['\"`]|\b(\w*(?:Error|Exception|Failed))\b|\b([A-Z]{2,}(?:_[A-Z]{2,})+)\b"
)


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """One failure in one run."""

    run: JobRun
    failure: Failure


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One failure with every time that it was seen, the most frequent wording first.

    ``wordings`` are its masked root lines; ``signature`` and ``family`` are those of the first. ``occurrences`` are in
    the order of time where all are dated, else in the order in which the logs were given.
    """

    signature: str
    family: Family
    infra: bool
    wordings: tuple[str, ...]
    occurrences: tuple[Occurrence, ...]

    @property
    def first_seen(self) -> datetime | None:
        """When it was seen first; None where a run has no date, for it may have been that one."""
        dates = [occurrence.run.began for occurrence in self.occurrences]
        return None if None in dates else min(date for date in dates if date)

    @property
    def runs(self) -> tuple[JobRun, ...]:
        """The runs that it failed, each once."""
        return tuple({id(occurrence.run): occurrence.run for occurrence in self.occurrences}.values())

    def list_places(self, name: str) -> list[str]:
        """The jobs, nodes, pools, builds or commits that saw it, sorted; ``name`` is a field of a run.

        >>> from triage.logs import read_text
        >>> (one,) = cluster_failures(read_text("HIP error: invalid argument\\nexited with status 1\\n").runs)
        >>> one.list_places("node")
        []
        """
        return sorted({place for run in self.runs if (place := getattr(run, name)) is not None})

    @property
    def tests(self) -> list[str]:
        """The tests that failed so, sorted."""
        found = {o.failure.test for o in self.occurrences} | {test for o in self.occurrences for test in o.failure.also}
        return sorted(test for test in found if test)

    def to_json(self) -> dict[str, Any]:
        """One row of ``clusters`` in ``triage log --json``."""
        return {
            "signature": self.signature,
            "family": self.family.value,
            "infra": self.infra,
            "root": self.wordings[0],
            "wordings": len(self.wordings),
            "failures": len(self.occurrences),
            "runs": len(self.runs),
            "first_seen": self.first_seen.isoformat() if self.first_seen else None,
            "tests": self.tests,
            **{f"{name}s": self.list_places(name) for name in ("job", "node", "pool", "build", "commit")},
        }


def cluster_failures(runs: Iterable[JobRun], *, nearness: float = NEARNESS) -> list[Cluster]:
    """The failures of many runs as clusters, the most frequent first.

    Failures of one signature are one. Then a wording joins a more frequent one of its family and rule if it is a cut
    version of it, or if ``rapidfuzz.fuzz.ratio`` of the two is at least ``nearness`` and both name the same things:
    two missing modules are two failures, however alike their lines are. The answer does not depend on the order of
    the runs. Raises `MissingDependencyError` without rapidfuzz.
    """
    exact: dict[str, list[Occurrence]] = defaultdict(list)
    for run in runs:
        for failure in run.failures:
            exact[failure.signature].append(Occurrence(run=run, failure=failure))
    groups: dict[tuple[Family, str], list[list[Occurrence]]] = defaultdict(list)
    for found in exact.values():
        groups[found[0].failure.family, found[0].failure.rule].append(found)
    clusters = [_make(members) for alike in groups.values() for members in _join_near(alike, nearness)]
    return sorted(clusters, key=lambda c: (-len(c.occurrences), c.occurrences[0].failure.root.n, c.signature))


def _join_near(alike: Sequence[list[Occurrence]], nearness: float) -> list[list[list[Occurrence]]]:
    """Wordings of one family and rule, each with those that join it."""
    ordered = sorted(alike, key=lambda found: (_is_cut(_word(found)), -len(found), _word(found)))
    leaders: dict[tuple[Any, ...], dict[int, str]] = defaultdict(dict)
    members: list[list[list[Occurrence]]] = []
    for found in ordered:
        text = _word(found)
        key = (found[0].failure.named, frozenset(_list_names(text)))
        place = _find_whole(text, members) if _is_cut(text) else _find_near(text, leaders[key], nearness)
        if place is None:
            leaders[key][len(members)] = text
            members.append([found])
        else:
            members[place].append(found)
    return members


def _find_near(text: str, leaders: dict[int, str], nearness: float) -> int | None:
    if not leaders:
        return None
    fuzz, process = _import_rapidfuzz()
    found = process.extractOne(text, leaders, scorer=fuzz.ratio, score_cutoff=nearness)
    return None if found is None else int(found[2])


def _find_whole(text: str, members: Sequence[list[list[Occurrence]]]) -> int | None:
    """The one wording that a cut line is the beginning of; None where several are, or none is."""
    beginning = text.rstrip(".…").rstrip()
    if len(beginning) < _CUT_CHARS:
        return None
    places = [n for n, founds in enumerate(members) if any(_word(found).startswith(beginning) for found in founds)]
    return places[0] if len(places) == 1 else None


def _make(members: Sequence[Sequence[Occurrence]]) -> Cluster:
    leader = members[0][0].failure
    occurrences = [occurrence for found in members for occurrence in found]
    if all(o.run.began for o in occurrences):
        occurrences.sort(key=lambda o: (o.run.began, o.run.log, o.failure.root.n))
    wordings = Counter(o.failure.masked for o in occurrences)
    ordered = sorted(wordings, key=lambda text: (text != leader.masked, -wordings[text], text))
    return Cluster(
        signature=leader.signature,
        family=leader.family,
        infra=leader.infra,
        wordings=tuple(ordered),
        occurrences=tuple(occurrences),
    )


def _word(found: Sequence[Occurrence]) -> str:
    return found[0].failure.masked


def _is_cut(text: str) -> bool:
    return text.endswith(_CUT)


def _list_names(text: str) -> list[str]:
    return [next(group for group in found.groups() if group) for found in _NAMES.finditer(text)]


def _import_rapidfuzz() -> tuple[Any, Any]:
    try:
        from rapidfuzz import fuzz, process
    except ImportError as error:
        raise MissingDependencyError(
            "Comparing failures of many logs needs rapidfuzz.", hint="Install it: pip install rapidfuzz"
        ) from error
    return fuzz, process
