"""Values that stand behind a secret name in a text: shell, JSON, JSON within JSON, Python, YAML, options, HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator

from triage.redaction._names import KEYWORD, Strength, is_plain, rate_name

_NAME_CHARS = 80
_NAME_CHAR = re.compile(r"[\w.-]")
_TAG = r"<[^<>]{0,120}>"
_QUOTE = r"(?:\\{0,8}[\"']|&quot;|&\#3[49];|&\#x2[27];|`)"
_GAP = rf"(?:\s|{_TAG}){{0,6}}"
_TYPE = r"(?:str|bytes|Optional\[str\]|str \| None)"
# From the end of a name to the beginning of its value.
_SEPARATOR = re.compile(
    rf"(?:{_QUOTE})?{_GAP}(?::\s*{_TYPE}\s*=|[:=]>?|,[ \t]?(?={_QUOTE})){_GAP}(?P<open>(?:[bfru]?{_QUOTE})?){_GAP}"
    rf"|{_GAP}</t[dh]>{_GAP}(?P<cell>)(?:{_TAG})?",
    re.IGNORECASE,
)
_OPTION = re.compile(rf"(?:[\"'],?)?[\s=,]{{1,3}}(?P<open>(?:{_QUOTE})?)")
_BARE = re.compile(r"[^\s\"'`<>,;&\\)}\]|]{1,4096}")
_QUOTED = {
    '"': re.compile(r'(?:[^"\\\n]|\\.){1,4096}?(?=\\*"|\n|\Z)'),
    "'": re.compile(r"(?:[^'\\\n]|\\.){1,4096}?(?=\\*'|\n|\Z)"),
    "`": re.compile(r"[^`\n]{1,4096}"),
    "&": re.compile(r"(?:[^<>&\n]|&amp;|&lt;|&gt;){1,4096}"),
}
_CELL = re.compile(r"[^<>\n]{1,4096}")
_CODE = re.compile(r"[\w.]*[(\[]|(?:None|True|False|str|bool|bytes|int|float|lambda|self|args|os)\b(?![\w-])")
_TOKEN_LIKE = re.compile(r"(?=[^\d]*\d)(?=[^A-Za-z]*[A-Za-z])[\w+/=.:~-]{12,}|\ue000set-aside-[0-9]+\ue001")


def find_assigned(text: str) -> Iterator[tuple[int, int]]:
    """Where the values of secret names stand, in their order.

    >>> text = '{"password": "hunter2", "eos_token": "</s>"}'
    >>> [text[start:end] for start, end in find_assigned(text)]
    ['hunter2']
    """
    done = 0
    for keyword in KEYWORD.finditer(text):
        if keyword.start() < done:
            continue
        start, end = _extend(text, *keyword.span())
        done = end
        found = _find_value(text, start, end)
        if found is not None:
            done = found[1]
            yield found


def _extend(text: str, start: int, end: int) -> tuple[int, int]:
    """The whole name around a keyword. Nothing but a name is that long: a picture in base64 holds keywords, too."""
    first = start
    while first > 0 and start - first < _NAME_CHARS and _NAME_CHAR.match(text, first - 1):
        first -= 1
    if text[max(first - 1, 0) : first] == "\\" and text[first : first + 1] in "nrtu":  # an escape, no letter
        first += 1
    last = end
    while last < len(text) and last - end < _NAME_CHARS and _NAME_CHAR.match(text, last):
        last += 1
    return first, last


def _find_value(text: str, start: int, end: int) -> tuple[int, int] | None:
    name = text[start:end]
    strength = rate_name(name.rstrip(".-"))
    if strength is Strength.NONE:
        return None
    option = name.startswith("--")
    separator = _SEPARATOR.match(text, end) or (_OPTION.match(text, end) if option else None)
    if separator is None:
        return None
    groups = separator.groupdict()
    quote = (groups.get("open") or "").lstrip("bfruBFRU\\")[:1]
    cell = groups.get("cell") is not None
    value = (_CELL if cell else _QUOTED.get(quote, _BARE)).match(text, separator.end())
    if value is None or is_plain(value[0].strip(), strength):
        return None
    if not _is_believable(value[0].strip(), strength, quoted=bool(quote) or cell or option):
        return None
    return value.span()


def _is_believable(value: str, strength: Strength, *, quoted: bool) -> bool:
    """Whether it is a value at all: prose and code have words and calls behind such names."""
    if _CODE.match(value) or (value.isidentifier() and rate_name(value)):  # api_key=api_key
        return False
    if strength is Strength.STRONG:
        return quoted or len(value) > 2
    return _TOKEN_LIKE.fullmatch(value) is not None
