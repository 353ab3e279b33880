"""How a change of a name is written as a rule: from the narrowest pattern that says it to wider ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import regex

Parts = tuple[str, ...]
STAR = "*"  # stands for a number, as in a list of layers; no part of a name is called so once it is folded
_WIDEST_CHOICE = 64  # alternatives in a pattern


@dataclass(frozen=True)
class Candidate:
    """A pattern, what takes its place, and how wide it is: 0 is the narrowest that a rule of several keys can be."""

    pattern: str
    replacement: str
    width: int
    needle: str = ""  # text that every name holds that the pattern matches

    @property
    def bare(self) -> bool:
        """Whether the pattern names no part at all."""
        return not self.needle and "(?=" not in self.pattern

    @cached_property
    def compiled(self) -> Any:
        """The compiled pattern."""
        return regex.compile(self.pattern)

    def rename(self, name: str) -> str:
        """The name that the rule gives."""
        return str(self.compiled.sub(self.replacement, name)) if self.needle in name else name


@dataclass(frozen=True)
class Site:
    """Where a change takes place: the parts before and after it, numbers folded, and each number's values."""

    before: Parts
    after: Parts
    values: tuple[tuple[str, ...], ...]  # of each star of `before`


def write_candidates(old: Parts, new: Parts, sites: Iterable[Site], *, anchored: bool) -> Iterator[Candidate]:
    r"""Patterns that turn ``old`` into ``new`` at these sites, the preferred one first.

    With ``anchored`` all sites must have the same ``before``, and the patterns start at the beginning of the name; else
    they may match anywhere. What follows the change is named only in the later ones, which are for the case that an
    earlier one touches too much.

    >>> site = Site(before=("layers", "*"), after=("weight",), values=(("0", "1"),))
    >>> next(write_candidates(("norm",), ("ln",), [site], anchored=True)).pattern
    '^(layers\\.\\d+\\.)norm\\.'
    """
    places = list(sites)
    if not all(site.after for site in places) and not (old and new):
        # The last part comes or goes: the part before it is taken along.
        last = {site.before[-1:] for site in places}
        if len(last) > 1 or () in last:
            return
        kept = last.pop()
        old, new = kept + old, kept + new
        places = [_shorten(site) for site in places]
    lefts = list(_write_paths(places) if anchored else _write_surroundings(places))
    rights = list(_write_rights(places, old, new))
    needle = max((part for part in old if part != STAR), key=len, default="")
    if anchored:
        needle = max([needle, *(part for part in places[0].before if part != STAR)], key=len)
    leaf = not places[0].after
    for width, (left, right) in enumerate((left, right) for left in lefts for right in rights):
        if not (anchored or old or right):
            continue  # it would match before every part of a name
        groups = left[0].count("(") - left[0].count("(?") - left[0].count("\\(")
        pattern = left[0] + _write_old(old, leaf) + right
        replacement = _protect(left[1] + _write_new(new, leaf, groups))
        yield Candidate(pattern, replacement, width + (0 if anchored else 100), needle)


def _shorten(site: Site) -> Site:
    values = site.values[:-1] if site.before[-1] == STAR else site.values
    return Site(before=site.before[:-1], after=site.after, values=values)


def _write_paths(places: list[Site]) -> Iterator[tuple[str, str]]:
    """(pattern, replacement) of the whole way from the beginning of the name; the numbers, then their values."""
    before = places[0].before
    columns = [sorted({value for site in places for value in site.values[i]}) for i in range(len(places[0].values))]
    for exact in (False, True):
        numbers = iter(columns)
        parts = [_write_number(next(numbers), exact=exact) if part == STAR else _escape(part) for part in before]
        text = "".join(f"{part}\\." for part in parts)
        if all(len(column) == 1 for column in columns):
            singles = iter(columns)
            yield f"^{text}", "".join(f"{next(singles)[0] if p == STAR else _template(p)}." for p in before)
            return
        yield f"^({text})", "\\1"


def _write_surroundings(places: list[Site]) -> Iterator[tuple[str, str]]:
    """(pattern, replacement) of what stands before, for a rule that may match anywhere."""
    if all(site.before for site in places):
        yield "\\.", "."
    yield "(?<![^.])", ""  # it takes no dot away, which two neighbours would need
    common = _find_common([site.before for site in places])
    if common and common[-1] != STAR:
        head = "".join(f"{_write_part(part)}\\." for part in common)
        yield f"^({head}(?:.+\\.)?)", "\\1"
    last = sorted({site.before[-1] for site in places if site.before})
    if last and all(site.before for site in places) and len(last) <= _WIDEST_CHOICE:
        yield f"((?:^|\\.){_choose([(part,) for part in last])}\\.)", "\\1"


def _write_rights(places: list[Site], old: Parts, new: Parts) -> Iterator[str]:
    """A look at what follows: nothing; that it is not there already; its first part; all of it."""
    yield ""
    if not places[0].after:
        return
    if len(new) > len(old) and new[: len(old)] == old and STAR not in new:
        come = "\\.".join(map(_write_part, new[len(old) :]))
        yield f"(?!{come}\\.)"
    following = sorted({site.after[:1] for site in places})
    if len(following) <= _WIDEST_CHOICE:
        yield f"(?={_choose(following)}(?:\\.|$))"
    rests = sorted({site.after for site in places})
    if len(rests) <= _WIDEST_CHOICE:
        yield f"(?={_choose(rests)}$)"


def _write_old(old: Parts, leaf: bool) -> str:
    text = "\\.".join("(\\d+)" if part == STAR else _escape(part) for part in old)
    return f"{text}$" if leaf else f"{text}\\." if old else ""


def _write_new(new: Parts, leaf: bool, groups: int) -> str:
    parts = []
    for part in new:
        groups += part == STAR
        parts.append(f"\\{groups}" if part == STAR else _template(part))
    text = ".".join(parts)
    return text if leaf or not new else f"{text}."


def _protect(replacement: str) -> str:
    """A digit right after a reference to a group would be read as part of it."""
    return str(regex.sub(r"(?<!\\)((?:\\\\)*)\\(\d)(?=\d)", r"\1\\g<\2>", replacement))


def _write_number(values: list[str], *, exact: bool) -> str:
    if len(values) == 1:
        return values[0]
    return _choose([(value,) for value in values]) if exact and len(values) <= _WIDEST_CHOICE else "\\d+"


def _write_part(part: str) -> str:
    return "\\d+" if part == STAR else _escape(part)


def _choose(options: list[Parts]) -> str:
    texts = ["\\.".join(map(_write_part, option)) for option in options]
    return texts[0] if len(texts) == 1 else f"(?:{'|'.join(texts)})"


def _find_common(paths: list[Parts]) -> Parts:
    common = []
    for column in zip(*paths, strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    return tuple(common)


def _escape(text: str) -> str:
    return str(regex.escape(text, special_only=True))


def _template(text: str) -> str:
    # A rule on the command line is split at its last "=", which therefore may not stand in a replacement.
    return text.replace("\\", "\\\\").replace("=", "\\x3d")
