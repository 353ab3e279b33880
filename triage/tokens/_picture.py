"""Two encodings side by side, as a picture for a notebook: HTML that needs no script and no colour to be read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from triage.tokens._align import Gap, Side, align, locate, name_span
from triage.tokens._snapshots import Snapshot

_CONTEXT = 4  # tokens on each side of a place that are shown
_LONGEST = 60  # tokens of one stretch, and characters of one token, that are shown
_BOX = "border:1px solid rgba(128,128,128,0.5);border-radius:3px;padding:0 3px;margin:1px;white-space:pre-wrap"
# Light enough over white and dark enough over black that the page's own text colour stays readable on both.
_A_ONLY = f"{_BOX};background-color:rgba(207,34,46,0.25);text-decoration:none;font-weight:600"
_B_ONLY = f"{_BOX};background-color:rgba(9,105,218,0.25);text-decoration:none;font-weight:600"
_SKIPPED = "opacity:0.7;font-style:italic"


@dataclass(frozen=True, kw_only=True)
class AlignmentPicture:
    """What `render_alignment` returns; Jupyter shows it by itself. ``html`` and ``text`` say the same."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __str__(self) -> str:
        return self.text


def render_alignment(a: Snapshot, b: Snapshot, text: str, *, name: str = "", places: int = 20) -> AlignmentPicture:
    """The first ``places`` places where two snapshots part on a text, one row each, with the tokens around them.

    ``name`` is what the title calls the text. A token that only one side has is marked three times: by its box's
    colour, by ``-`` (A) or ``+`` (B) before it, and as deleted or inserted text to a screen reader. Everything of the
    text and the tokens is escaped; control characters are shown as ``\\x00``, and each token keeps its own writing
    direction. Raises as `Snapshot.encode` does.

    >>> from pathlib import Path
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> def snapshot(name, split):
    ...     tokenizer = Tokenizer(models.WordLevel({"a": 1, "-": 2, "b": 3}, unk_token="-"))
    ...     tokenizer.pre_tokenizer = pre_tokenizers.Split("-", split)
    ...     return Snapshot(name, Path(), tokenizer)
    >>> print(render_alignment(snapshot("keeps", "isolated"), snapshot("drops", "removed"), "a-b"))
    keeps and drops part at 1 place
    character 1 '-': a [--] b | a (no token) b
    """
    ours, theirs = (Side.read(snapshot.encode(text)) for snapshot in (a, b))
    gaps = align(ours, theirs)
    places_found = f"{len(gaps) or 'no'} place{'' if len(gaps) == 1 else 's'}"
    title = f"{name}{': ' if name else ''}{a.name} and {b.name} part at {places_found}"
    shown = gaps[:places]
    left = f"{len(gaps) - len(shown)} more places are not shown" if len(gaps) > len(shown) else ""
    rows, lines = [], [title]
    spans = locate(ours, theirs, shown, length=len(text))
    for index, (gap, (start, end)) in enumerate(zip(shown, spans, strict=True)):
        before = gaps[index - 1] if index else None
        after = gaps[index + 1] if index + 1 < len(gaps) else None
        place = name_span(start, end)
        cells = [list(_list_tokens(side, which, gap, before, after)) for side, which in ((ours, 0), (theirs, 1))]
        quoted = show_text(repr(_clip(text[start:end]))) if end > start else "special tokens only"
        rows.append(
            f'<tr><th scope="row" style="text-align:left">{place}<br><code>{_isolate(quoted)}</code></th>'
            + "".join(f'<td style="text-align:left">{"".join(html for html, _ in cell)}</td>' for cell in cells)
            + "</tr>"
        )
        plain = " | ".join(" ".join(line for _, line in cell) or "nothing" for cell in cells)
        lines.append(f"{place} {quoted}: {plain}")
    if left:
        lines.append(left)
    return AlignmentPicture(html=_draw(title, left, (a.name, b.name), rows), text="\n".join(lines))


def show_text(text: str) -> str:
    r"""A text made safe to look at: control and format characters, and those without a glyph, as escapes.

    A combining character that comes first gets a dotted circle to stand on, else it would sit on its neighbour.

    >>> show_text("a\x00\u202eb"), show_text("\u0301")
    ('a\\x00\\u202eb', '◌́')
    """
    shown = "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
        else character
        for character in text
    )
    return f"◌{shown}" if shown and unicodedata.combining(shown[0]) else shown


def _draw(title: str, left: str, names: Sequence[str], rows: Sequence[str]) -> str:
    heads = "".join(f'<th scope="col" style="text-align:left">{escape(name)}</th>' for name in names)
    legend = f"- only in {names[0]}, + only in {names[1]}, … tokens that are left out"
    body = (
        f'<table><caption style="text-align:left">{escape(title)}. {escape(legend)}.</caption>'
        f'<thead><tr><th scope="col" style="text-align:left">place</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    note = f'<p style="{_SKIPPED}">{escape(left)}.</p>' if left else ""
    return f"<div>{body}{note}</div>" if rows else f"<p>{escape(title)}.</p>"


def _list_tokens(side: Side, which: int, gap: Gap, before: Gap | None, after: Gap | None) -> Iterator[tuple[str, str]]:
    """The tokens of a place, as (HTML, plain text), with those around it on which both agree."""
    start, end = gap[2 * which], gap[2 * which + 1]
    first = max(0 if before is None else before[2 * which + 1], start - _CONTEXT)
    last = min(len(side.tokens) if after is None else after[2 * which], end + _CONTEXT)
    if first:
        yield f'<span style="{_SKIPPED}">… </span>', "…"
    for token in side.tokens[first:start]:
        yield _draw_token(token)
    tag, mark, style = (("del", "-", _A_ONLY), ("ins", "+", _B_ONLY))[which]
    for token in side.tokens[start : min(end, start + _LONGEST)]:
        shown = _shorten(token)
        yield f'<{tag} style="{style}">{mark}{_isolate(shown)}</{tag}>', f"[{mark}{shown}]"
    if end > start + _LONGEST:
        more = f"… {end - start - _LONGEST} more …"
        yield f'<span style="{_SKIPPED}">{more}</span>', more
    if start == end:
        yield f'<span style="{_SKIPPED}">(no token)</span>', "(no token)"
    for token in side.tokens[end:last]:
        yield _draw_token(token)
    if last < len(side.tokens):
        yield f'<span style="{_SKIPPED}"> …</span>', "…"


def _draw_token(token: str) -> tuple[str, str]:
    shown = _shorten(token)
    return f'<span dir="auto" style="{_BOX}">{escape(shown)}</span>', shown


def _isolate(text: str) -> str:
    """Text that keeps its own writing direction and does not turn its surroundings around."""
    return f'<span dir="auto">{escape(text)}</span>'


def _shorten(token: str) -> str:
    return show_text(_clip(token))


def _clip(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
