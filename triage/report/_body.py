"""The cells of an executed notebook, as the blocks of a page."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from triage.report._markup import (
    Folded,
    clean_text,
    fold_text,
    highlight_python,
    is_speaking,
    make_anchor,
    measure_text,
    render_markdown,
    sanitise_html,
    shorten_line,
)
from triage.report._notebook import BANNER_MIME, ERROR_MIME, RESULT_MIME

_OWN_SECTIONS = {"parameters", "injected-parameters"}  # the page shows them as a table
_IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/webp", "image/gif")
_PAGE_BYTES = 1_200_000  # what all outputs together may add to a page, which is to stay below 2 MB
_OUTPUT_BYTES = 500_000  # and one of them
_OWN_ANCHORS = ("the-evidence", "the-parameters", "the-environment", "the-log")
_HEADING = re.compile(r"^(#{1,3})\s+(.+?)\s*#*\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output; ``kind`` is html, image, text or error, and says which of the others is set."""

    kind: str
    html: Markup | None = None
    text: Folded | None = None
    label: str = ""
    source: str = ""
    alt: str = ""
    width: int | None = None


@dataclass(frozen=True, kw_only=True)
class Block:
    """A text cell (``html`` alone) or a code cell."""

    html: Markup
    number: int = 0
    first_line: str = ""
    status: str = ""
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Body:
    """All blocks, the notebook's title and question, and its headings as (level, text, anchor)."""

    title: str
    lead: Markup  # the text before the first code: the question
    blocks: tuple[Block, ...]
    headings: tuple[tuple[int, str, str], ...] = ()


@dataclass
class _Reader:
    title: str = ""
    section: str = ""
    number: int = 0
    headings: list[tuple[int, str, str]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=lambda: set(_OWN_ANCHORS))
    size_bytes: int = 0

    def read(self, cells: list[Any]) -> Iterator[Block]:
        for cell in cells:
            if cell["cell_type"] == "markdown":
                yield from self._read_prose("".join(cell["source"]))
            elif cell["cell_type"] == "code" and "".join(cell["source"]).strip():
                self.number += "injected-parameters" not in cell["metadata"].get("tags", [])
                yield from self._read_code(cell)

    def _read_prose(self, source: str) -> Iterator[Block]:
        renamed: list[tuple[str, str]] = []
        for marks, text in _HEADING.findall(_without_fences(source)):
            plain = str(render_markdown(text).striptags())
            if len(marks) == 1 and not self.title:
                self.title = plain
                source = re.sub(rf"^#\s+{re.escape(text)}.*$", "", source, count=1, flags=re.MULTILINE)
            else:
                self.section = plain
                own = make_anchor(plain)
                renamed.append((own, self._choose_anchor(own)))
                self.headings.append((max(len(marks), 2), plain, renamed[-1][1]))
        if source.strip():
            yield Block(html=_rename_anchors(render_markdown(source, caption=self.section), renamed))

    def _choose_anchor(self, wanted: str) -> str:
        """The anchor of a heading; the second heading of the same words gets a number."""
        anchor = next(a for n in itertools.count(1) if (a := wanted if n == 1 else f"{wanted}-{n}") not in self.anchors)
        self.anchors.add(anchor)
        return anchor

    def _read_code(self, cell: Any) -> Iterator[Block]:
        if _OWN_SECTIONS.intersection(cell["metadata"].get("tags", [])):
            return
        bundles = [output.get("data", {}) for output in cell["outputs"]]
        if bundles and all(BANNER_MIME in data and RESULT_MIME not in data for data in bundles):
            return
        source = "".join(cell["source"])
        lines = [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        yield Block(
            html=highlight_python(source),
            number=self.number,
            first_line=(lines or [source.strip()])[0].strip(),
            status=cell["metadata"].get("papermill", {}).get("status") or "",
            outputs=tuple(map(self._charge, self._read_outputs(cell["outputs"]))),
        )

    def _charge(self, output: Output) -> Output:
        """The output, or a line in its place where it, or all of them together, would make the page too big."""
        text = output.text
        parts = (output.html or "", output.source, text.head if text else "", text.tail if text else "")
        size = sum(map(measure_text, parts))
        if size <= _OUTPUT_BYTES and self.size_bytes + size <= _PAGE_BYTES:
            self.size_bytes += size
            return output
        return _leave_out(output.alt or output.label or "An output", size)

    def _read_outputs(self, outputs: list[Any]) -> Iterator[Output]:
        for output in _merge_streams(outputs):
            match output["output_type"]:
                case "stream":
                    yield Output(kind="text", text=fold_text("".join(output["text"])), label=output["name"])
                case "error":
                    trace = fold_text("\n".join(output["traceback"]))
                    label = shorten_line(clean_text(f"{output['ename']}: {output['evalue']}"))
                    yield Output(kind="error", text=trace, label=label)
                case _:
                    yield from self._read_bundle(output["data"], output.get("metadata", {}))

    def _read_bundle(self, data: dict[str, Any], metadata: dict[str, Any]) -> Iterator[Output]:
        if BANNER_MIME in data or RESULT_MIME in data:
            return
        plain = "".join(data.get("text/plain", ""))
        html, markdown = ("".join(data.get(mime, "")) for mime in ("text/html", "text/markdown"))
        if 0 < len(html) <= _OUTPUT_BYTES:  # sanitising more takes seconds, and there is no room for it
            cleaned = sanitise_html(html, caption=self.section)
            # A widget or a script-drawn chart leaves nothing behind: then its picture or its text is shown.
            if cleaned.striptags().strip() or "<img" in cleaned or ERROR_MIME in data:
                yield Output(kind="html", html=cleaned)
                return
        for mime in _IMAGES:
            if mime in data:
                yield self._read_image(mime, "".join(data[mime]), plain, metadata)
                return
        if 0 < len(markdown) <= _OUTPUT_BYTES:
            yield Output(kind="html", html=sanitise_html(render_markdown(markdown, caption=self.section)))
        elif plain:
            yield Output(kind="text", text=fold_text(plain), label="output")
        elif (size := max(len(html), len(markdown))) > _OUTPUT_BYTES:
            yield _leave_out("An output", size)

    def _read_image(self, mime: str, content: str, plain: str, metadata: dict[str, Any]) -> Output:
        if mime == "image/svg+xml":  # as an image its scripts do not run
            content = base64.b64encode(content.encode()).decode()
        own = metadata.get(mime)
        told = own if isinstance(own, dict) else metadata
        alt, width = str(told.get("alt") or ""), told.get("width")
        if not alt:
            alt = plain if is_speaking(plain) else f"Picture of the section “{self.section or self.title}”"
        return Output(
            kind="image",
            source=f"data:{mime};base64,{''.join(content.split())}",
            alt=shorten_line(alt),
            width=width if isinstance(width, int) else None,
        )


def read_body(notebook: dict[str, Any]) -> Body:
    """The blocks of a notebook (its JSON). The banner, the result and the parameters are the page's own affair.

    >>> read_body({"cells": [{"cell_type": "markdown", "source": "# Why?", "metadata": {}}]}).title
    'Why?'
    """
    reader = _Reader()
    blocks = tuple(reader.read(notebook["cells"]))
    lead = Markup()
    if blocks and not blocks[0].number and "<h2" not in blocks[0].html:
        lead, blocks = blocks[0].html, blocks[1:]
    return Body(title=reader.title, lead=lead, blocks=blocks, headings=tuple(reader.headings))


def _leave_out(what: str, size_bytes: int) -> Output:
    text = fold_text(f"{what} ({size_bytes:,} bytes): see notebook.ipynb")
    return Output(kind="text", label="left out", text=text)


def _merge_streams(outputs: list[Any]) -> Iterator[Any]:
    """Neighbouring pieces of one stream are one log."""
    held: dict[str, Any] | None = None
    for output in outputs:
        if output["output_type"] != "stream":
            if held:
                yield held
            held = None
            yield output
        elif held and held["name"] == output["name"]:
            held["text"] += "".join(output["text"])
        else:
            if held:
                yield held
            held = {**output, "text": "".join(output["text"])}
    if held:
        yield held


def _without_fences(source: str) -> str:
    """Markdown without its fenced code, in which a ``#`` begins a comment and not a heading."""
    return re.sub(r"^(```|~~~).*?^\1", "", source, flags=re.MULTILINE | re.DOTALL)


def _rename_anchors(html: Markup, renamed: list[tuple[str, str]]) -> Markup:
    """The same text with other anchors, in the order of its headings."""
    text, done = str(html), 0
    for own, chosen in renamed:
        at = text.find(f'id="{own}"', done)
        if at >= 0:
            text = f'{text[:at]}id="{chosen}"{text[at + len(own) + 5 :]}'
            done = at + len(chosen)
    return Markup(text)
