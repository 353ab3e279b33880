"""Foreign text and markup, made fit for a page: escaped, sanitised, folded.

Outputs of a notebook carry log lines, tensor names and whatever a library chose to display. None of it is trusted:
HTML passes an allow-list, and the page's own policy (CSP) forbids scripts and loads besides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup, escape

from triage.report._readable import make_readable, needs_paper, settle_headings

_TAGS_TEXT = """
    a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6
    hr i img ins kbd li mark ol p pre s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var
"""
_TAGS = set(_TAGS_TEXT.split())
_DROPPED = ["script", "style", "iframe", "object", "embed", "template", "svg", "math", "form", "noscript"]
_STYLES = {"background-color", "border", "border-left", "border-radius", "color", "font-style", "font-weight", "margin"}
_STYLES |= {"opacity", "padding", "text-align", "text-decoration", "vertical-align", "white-space"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# CSI sequences (colours), OSC and APC strings (titles; Buildkite's timestamps), other two-byte escapes.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^]")
TAIL_LINES = 6
_SHORT_LINES = 12
_KEPT_LINES = 2000
_LINE_CHARS = 2000
_KEPT_BYTES = 200_000


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A text for the page: short ones whole (``tail`` alone), long ones folded with their last lines shown."""

    head: str
    tail: str
    lines: int
    cut: int


def clean_text(text: str) -> str:
    r"""A terminal's text as a reader saw it: no colours or control characters, progress bars at their last state.

    >>> clean_text("\x1b[31mred\x1b[0m\n 10%\r 99%\rdone\n")
    'red\ndone\n'
    """
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(_CONTROL.sub("", line.rstrip("\r").rpartition("\r")[2]) for line in lines)


def fold_text(text: str) -> Folded:
    """Folds a log. Of a very long one only the end is kept: the whole is in the notebook or in its own file.

    >>> folded = fold_text("a\\n" * 100)
    >>> folded.lines, len(folded.tail.splitlines())
    (100, 6)
    >>> fold_text("a" * 5000).tail[-23:]
    '… 3,000 more characters'
    """
    lines = [shorten_line(line) for line in clean_text(text).rstrip("\n").split("\n")]
    if len(lines) <= _SHORT_LINES:
        return Folded(head="", tail="\n".join(lines), lines=len(lines), cut=0)
    kept = _keep_end(lines[-_KEPT_LINES:])
    return Folded(
        head="\n".join(kept[:-TAIL_LINES]),
        tail="\n".join(kept[-TAIL_LINES:]),
        lines=len(lines),
        cut=len(lines) - len(kept),
    )


def shorten_line(line: str, *, limit: int = _LINE_CHARS) -> str:
    """A line of a bearable length.

    >>> shorten_line("tensor", limit=3)
    'ten… 3 more characters'
    """
    return line if len(line) <= limit else f"{line[:limit]}… {len(line) - limit:,} more characters"


def measure_text(text: str) -> int:
    """The bytes that a text takes in a page; markup is taken as it is.

    >>> measure_text("a < ▁"), measure_text(Markup("<b>"))
    (10, 3)
    """
    return len(escape(text).encode())


def _keep_end(lines: list[str]) -> list[str]:
    """As many of the last lines as a page can bear."""
    size = 0
    for number, line in enumerate(reversed(lines)):
        size += measure_text(line) + 1
        if size > _KEPT_BYTES:
            return lines[len(lines) - number :]
    return lines


def sanitise_html(html: str, *, caption: str = "", is_prose: bool = False) -> Markup:
    """HTML with an allow-list of tags, attributes and styles, which can be read aloud and in the dark.

    A table without a caption gets ``caption``, a picture without a text is named after it; header cells get their
    scope. Headings stay headings in prose alone. Colours that were chosen for white get it, wrapped in ``div.paper``.

    >>> print(sanitise_html('<b onclick="x()">bold</b><script>alert(1)</script>'))
    <b>bold</b>
    """
    import bleach
    from bleach.css_sanitizer import CSSSanitizer
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "html.parser")
    for tag in soup.find_all(_DROPPED):
        tag.decompose()  # bleach would keep what stands between the tags
    make_readable(soup, caption=caption)
    settle_headings(soup, is_prose=is_prose)
    paper = needs_paper(soup)
    cleaned = bleach.clean(
        str(soup),
        tags=_TAGS,
        attributes=lambda tag, name, value: _allow_attribute(tag, name, value, is_prose=is_prose),
        protocols={"http", "https", "mailto", "data"},
        css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES, allowed_svg_properties=frozenset()),
        strip=True,
    )
    return Markup('<div class="paper">{}</div>').format(Markup(cleaned)) if paper else Markup(cleaned)


def highlight_python(source: str) -> Markup:
    """Python source as coloured spans.

    >>> print(highlight_python("x = 1").striptags())
    x = 1
    """
    from pygments import highlight

    return Markup(highlight(source, *_read_pygments()))


def render_markdown(text: str, *, caption: str = "") -> Markup:
    """Markdown as sanitised HTML; headings carry an ``id`` made from their text, tables get ``caption``.

    >>> print(render_markdown("## Two *counts*"))
    <h2 id="two-counts">Two <em>counts</em></h2>
    <BLANKLINE>
    """
    return sanitise_html(_read_markdown()(text), caption=caption, is_prose=True)


def make_anchor(heading: str) -> str:
    """The ``id`` of a heading.

    >>> make_anchor("What was <measured>?")
    'what-was-measured'
    """
    return re.sub(r"[^\w]+", "-", heading.lower()).strip("-") or "section"


def is_speaking(text: str) -> bool:
    """Whether a picture's plain text says something, unlike ``<Figure size 640x480 with 1 Axes>``."""
    return bool(text.strip()) and not re.fullmatch(r"<[^<>]+>", text.strip())


def _allow_attribute(tag: str, name: str, value: str, *, is_prose: bool) -> bool:
    if tag == "a":
        return name in {"href", "title"} and not value.strip().lower().startswith("data:")
    if tag == "img":
        return name in {"alt", "title", "width", "height"} or (name == "src" and value.startswith("data:image/"))
    if name == "id":
        return is_prose and tag in {"h2", "h3"}
    if name in {"scope", "colspan", "rowspan"}:
        return tag in {"th", "td", "col", "colgroup"}
    return name in {"title", "style", "lang", "dir", "open"}


@cache
def _read_pygments() -> tuple[Any, Any]:
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers.python import PythonLexer

    return PythonLexer(), HtmlFormatter(nowrap=True)


@cache
def _read_markdown() -> Any:
    import mistune

    class Renderer(mistune.HTMLRenderer):
        def heading(self, text: str, level: int, **_attrs: Any) -> str:
            anchor = make_anchor(Markup(text).striptags())
            return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    return mistune.create_markdown(escape=False, renderer=Renderer(escape=False), plugins=["table", "strikethrough"])
