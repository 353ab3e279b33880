"""Which rename rules would bring unexpected keys to the names that are missing: the fewest, the narrowest, no guess."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import islice

from triage.checkpoints._edits import Edit, Shape, find_edits, fold_names, measure_overlap
from triage.checkpoints._patterns import Candidate, Parts, write_candidates
from triage.engine.weights import Rule, RuleKind

_MOST_RULES = 64
_RATED = 12  # pairs that are looked at to say how alike the names of a rule are
_SAME_INITIAL = 0.2  # `q_proj` is more like `query` than `k_proj` is
_ALIKE = 0.35  # below, two texts share letters by chance
_ADDED = 0.5  # how alike two names are that differ by an added module
_MARGIN = 0.1  # by which the better of two must be better
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class SuggestedRule:
    """A rule, the keys that it leads to a missing name of the same shape, and the keys that it would take from theirs.

    ``note`` says on what the choice rests where names alone decided it. The rules of one answer are meant together, in
    their order; each also does alone what it claims, but where ``after`` is true: that one needs those before it.
    """

    rule: Rule
    fixes: Mapping[str, str]
    breaks: tuple[str, ...] = ()
    note: str = ""
    after: bool = False


@dataclass(frozen=True, kw_only=True)
class Inference:
    """The rules that were found, and what they leave: keys with several equally good names, and keys with none."""

    rules: tuple[SuggestedRule, ...]
    ambiguous: Mapping[str, tuple[str, ...]]
    unexplained: tuple[str, ...]

    def describe(self) -> str:
        """What was found, in one or two sentences.

        >>> infer_rules({"a": (1,)}, {"b": (2,)}).describe()
        'No rename rule leads the 1 key that reaches nothing to a missing name of its shape.'
        """
        fixed = sum(len(rule.fixes) for rule in self.rules)
        total = fixed + len(self.ambiguous) + len(self.unexplained)
        if not total:
            return "No key is unexpected."
        keys, whose = ("key that reaches nothing", "its") if total == 1 else ("keys that reach nothing", "their")
        if fixed:
            rules = "rule leads" if len(self.rules) == 1 else "rules lead"
            said = f"{len(self.rules)} {rules} {fixed} of {total} {keys} to a missing name of the same shape."
        else:
            said = f"No rename rule leads the {total} {keys} to a missing name of {whose} shape."
        for key, names in list(self.ambiguous.items())[:1]:
            fit = " or ".join(names[:_SHOWN]) + (" and others" if len(names) > _SHOWN else "")
            said += f" For {len(self.ambiguous)} more than one name fits equally well: {key} may be {fit}."
        return said


def suggest_rules(
    unexpected: Mapping[str, Shape],
    missing: Mapping[str, Shape],
    *,
    known: Iterable[str] = (),
) -> tuple[SuggestedRule, ...]:
    r"""The fewest and most specific rename rules that pair unexpected keys with missing names of the same shape.

    ``known`` are the other names of the checkpoint, which load and must go on loading: no rule changes one. All names
    are of one namespace: keys of the checkpoint with ``--against``, or names after vLLM's own mapper. Empty where no
    rule is found or several are equally good; `infer_rules` says which.

    >>> [found] = suggest_rules({"tower.model.a": (2,), "tower.model.b": (3,)}, {"tower.a": (2,), "tower.b": (3,)})
    >>> print(found.rule, len(found.fixes))
    regex ^tower\.model\. -> tower. 2
    """
    return infer_rules(unexpected, missing, known=known).rules


def infer_rules(
    unexpected: Mapping[str, Shape], missing: Mapping[str, Shape], *, known: Iterable[str] = ()
) -> Inference:
    """`suggest_rules`, with what the rules leave and why.

    The same input gives the same answer, whatever the order of its keys. A pairing is taken where the structure of the
    names asks for it (one rule for many keys), else where the names are more alike than any others; where two are
    equally good, none is taken.
    """
    search = _Search(unexpected, missing, known)
    search.run()
    return search.conclude()


@dataclass
class _Found:
    """A rule that was found, what it pairs, whether it goes before those found earlier, and what else it touches.

    ``strays`` counts the unexpected names that it leads nowhere; ``wanted`` are all names that are missing.
    """

    candidate: Candidate
    pairs: dict[str, str]
    first: bool
    strays: int
    wanted: Sequence[str]
    note: str = ""

    @cached_property
    def likeness(self) -> float:
        """How alike the names of its pairs are."""
        return _rate(self.pairs)

    @property
    def score(self) -> tuple[float, ...]:
        """The better rule has the smaller one: it pairs more, stands alone, has likelier pairs, is narrower.

        One that would rename a name that is wanted as it is would break the checkpoints that have it already.
        """
        bare = self.candidate.bare  # it matches whatever comes: then it should say what may come
        strays = self.strays if bare else 0
        width, length = self.candidate.width, len(self.candidate.pattern)
        return -len(self.pairs), not self.alone, -self.likeness, strays, self.repeats, width, length

    @cached_property
    def repeats(self) -> bool:
        """Whether the rule changes a name that it should lead to."""
        return any(self.candidate.rename(name) != name for name in self.wanted)

    @cached_property
    def alone(self) -> bool:
        """Whether the rule fixes its keys without any other."""
        return all(self.candidate.rename(key) == name for key, name in self.pairs.items())


class _Search:
    """Takes the rule that pairs most names, and again for what is left."""

    def __init__(self, unexpected: Mapping[str, Shape], missing: Mapping[str, Shape], known: Iterable[str]) -> None:
        same = unexpected.keys() & missing.keys()  # at home already, or there with another shape
        self._unexpected = {key: tuple(unexpected[key]) for key in sorted(unexpected.keys() - same)}
        self._known = sorted((set(known) | same) - self._unexpected.keys())
        self._reached = set(self._known)  # names that a tensor has already
        self._left = dict(self._unexpected)
        self._names = sorted(missing)
        self._wanted = {name: tuple(missing[name]) for name in sorted(missing.keys() - same)}
        self._homes: dict[str, str] = {}  # of keys that a rule has led to a name
        self._found: list[_Found] = []
        self._ambiguous: dict[str, tuple[str, ...]] = {}

    def run(self) -> None:
        while self._left and self._wanted and len(self._found) < _MOST_RULES and self._take_best():
            pass

    def _take_best(self) -> bool:
        """Takes the best rule for what is left, or sets keys aside that fit several; False where there is nothing."""
        best = self._find_best()
        if not best:
            return False
        chosen = best[0]
        rivals = [other for other in best[1:] if _contradict(chosen.pairs, other.pairs)]
        if equal := [other.pairs for other in rivals if other.likeness > chosen.likeness - _MARGIN]:
            self._set_aside([chosen.pairs, *equal])
            return True
        for key, name in chosen.pairs.items():
            if others := sorted({other.pairs[key] for other in rivals if key in other.pairs} - {name}):
                fit = ", ".join(others[:_SHOWN])
                chosen.note = f"Chosen by name: by its shape {key} could be {fit} as well."
                break
        self._found.insert(0 if chosen.first else len(self._found), chosen)
        for key, name in chosen.pairs.items():
            del self._left[key], self._wanted[name]
        self._reached.update(chosen.pairs.values())
        self._homes.update(chosen.pairs)
        return True

    def _find_best(self) -> list[_Found]:
        """The rules that fix most, the most fitting first."""
        wanted = fold_names(self._wanted)
        offers = _offer(find_edits(fold_names(self._left), wanted))
        renamed = {self._pass_on(key): shape for key, shape in self._left.items()} if self._found else {}
        if renamed.keys() != self._left.keys() and len(renamed) == len(self._left):
            offers = _rank([*offers, *_offer(find_edits(fold_names(renamed), wanted))])
        best: list[_Found] = []
        most = 1
        for bound, candidate in offers:
            if bound < most:
                break
            for found in self._try(candidate):
                if len(found.pairs) >= most:
                    most = len(found.pairs)
                    best.append(found)
        best = [found for found in best if len(found.pairs) == most]
        return sorted(best, key=lambda found: (found.score, found.candidate.pattern, found.candidate.replacement))

    def _set_aside(self, rivals: list[dict[str, str]]) -> None:
        """Keys that fit several names equally well are left alone, and said."""
        for key in {key for pairs in rivals for key in pairs}:
            self._ambiguous[key] = tuple(sorted({pairs[key] for pairs in rivals if key in pairs}))
            del self._left[key]

    def _try(self, candidate: Candidate) -> Iterator[_Found]:
        """The rule before all others, else after them; nothing where it touches what it must not."""
        if any(candidate.rename(name) != name for name in self._known):
            return
        for first in (True, False) if self._found else (True,):
            found = self._measure(candidate, first=first)
            if found and found.pairs:
                yield found
                return

    def _measure(self, candidate: Candidate, *, first: bool) -> _Found | None:
        """What the rule fixes beside what those that were found do, or None where it harms."""
        pairs: dict[str, str] = {}
        strays = 0
        for key, shape in self._unexpected.items():
            before = key if first else self._pass_on(key)
            name = candidate.rename(before)
            if name == before:
                continue
            if first:
                name = self._pass_on(name)
            if key in self._homes:
                if name != self._homes[key]:
                    return None
            elif name in self._reached or key in self._ambiguous or self._wanted.get(name, shape) != shape:
                return None
            elif name in self._wanted:
                pairs[key] = name
            else:
                strays += 1
        return _Found(candidate, pairs, first, strays, self._names) if len(set(pairs.values())) == len(pairs) else None

    def _pass_on(self, name: str) -> str:
        """The name after the rules that were found before."""
        for found in self._found:
            name = found.candidate.rename(name)
        return name

    def conclude(self) -> Inference:
        rules = tuple(
            SuggestedRule(
                rule=Rule(
                    kind=RuleKind.REGEX, pattern=found.candidate.pattern, replacement=found.candidate.replacement
                ),
                fixes=dict(sorted(found.pairs.items())),
                note=found.note,
                after=not found.alone,
            )
            for found in self._found
        )
        left = tuple(key for key in self._left if key not in self._ambiguous)
        return Inference(rules=rules, ambiguous=dict(sorted(self._ambiguous.items())), unexplained=left)


def _offer(edits: Sequence[Edit]) -> list[tuple[int, Candidate]]:
    """(how many names it could pair at most, the rule) for every way to write every edit, the most promising first."""
    offers: dict[tuple[str, str], tuple[int, Candidate]] = {}
    for edit in edits:
        sites = [site for places in edit.sites.values() for site in places]
        groups = [
            ([site for site in sites if site.before == before], edit.weight[before], True) for before in edit.weight
        ]
        if len(edit.weight) > 1:
            groups.append((sites, sum(edit.weight.values()), False))
        for places, weight, anchored in groups:
            for candidate in write_candidates(edit.old, edit.new, places, anchored=anchored):
                identity = (candidate.pattern, candidate.replacement)
                if identity not in offers or offers[identity][0] < weight:
                    offers[identity] = (weight, candidate)
    return _rank(offers.values())


def _rank(offers: Iterable[tuple[int, Candidate]]) -> list[tuple[int, Candidate]]:
    return sorted(offers, key=lambda offer: (-offer[0], offer[1].width, offer[1].pattern, offer[1].replacement))


def _contradict(first: Mapping[str, str], second: Mapping[str, str]) -> bool:
    """Whether the two lead one key to two names, or two keys to one name."""
    back = {name: key for key, name in first.items()}
    return any(first.get(key, name) != name or back.get(name, key) != key for key, name in second.items())


def _rate(pairs: Mapping[str, str]) -> float:
    """How alike the names of the pairs are: the share of parts that stay, and how alike the text is that changes."""
    rated = [_compare(tuple(key.split(".")), tuple(name.split("."))) for key, name in islice(pairs.items(), _RATED)]
    return sum(rated) / len(rated)


def _compare(key: Parts, name: Parts) -> float:
    head, tail = measure_overlap(key, name)
    old, new = ".".join(key[head : len(key) - tail]), ".".join(name[head : len(name) - tail])
    kept = 2 * (head + tail) / (len(key) + len(name))
    if not (old and new):
        return kept + _ADDED
    alike = SequenceMatcher(None, old, new, autojunk=False).ratio() + _SAME_INITIAL * (old[0] == new[0])
    return kept + (alike if alike >= _ALIKE else 0.0)
