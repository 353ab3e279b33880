"""Foreign HTML that can be read aloud and in both colour schemes: its tables, pictures, links, headings and colours.

What a library displays was made for the eye, in a notebook, on white. A page has one title, its own order of headings,
readers who listen, and readers in the dark.
"""

from __future__ import annotations

import re
from typing import Any

_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
# A colour that fits white only. A translucent one, or one that takes after its surroundings, fits any ground.
_FOR_WHITE = re.compile(
    r"(?:^|[;\s])(?:background-)?color\s*:\s*(?!\s|rgba|hsla|inherit|transparent|currentcolor)", re.I
)


def make_readable(soup: Any, *, caption: str) -> None:
    """Changes the markup in place. Tables and pictures without a name of their own are named by ``caption``."""
    for table in soup.find_all("table"):
        _label_table(soup, table, caption)
    for image in soup.find_all("img"):
        _label_image(image, caption)
    for link in soup.find_all("a"):
        if not link.get_text(strip=True) and link.find("img") is None:
            link.unwrap()  # nothing to hear and nothing to click


def settle_headings(soup: Any, *, is_prose: bool) -> None:
    """Fits the headings into the page, which has one title: prose has two levels, an output has bold lines instead."""
    for heading in soup.find_all(_HEADINGS):
        if is_prose:
            heading.name = "h2" if heading.name in {"h1", "h2"} else "h3"
            continue
        heading.name = "p"
        inner = soup.new_tag("strong")
        inner.extend(list(heading.contents))
        heading.append(inner)


def needs_paper(soup: Any) -> bool:
    """Whether the markup sets colours that were chosen for a white ground, and needs one in the dark as well."""
    return any(_FOR_WHITE.search(str(tag["style"])) for tag in soup.find_all(style=True))


def _label_table(soup: Any, table: Any, caption: str) -> None:
    if table.find("caption") is None and caption:
        tag = soup.new_tag("caption")
        tag.string = caption
        table.insert(0, tag)
    _merge_header_rows(table)
    for header in table.find_all("th"):
        if not header.get_text(strip=True) and header.find("img") is None:
            header.name = "td"  # a header that says nothing is announced as one all the same
            header.attrs.pop("scope", None)
        elif not header.has_attr("scope"):
            header["scope"] = "col" if header.find_parent("thead") is not None else "row"


def _merge_header_rows(table: Any) -> None:
    """Pandas puts the name of the index into a second header row that is empty otherwise: two halves of one row."""
    head = table.find("thead")
    rows = head.find_all("tr") if head is not None else []
    if len(rows) != 2:
        return
    upper, lower = ([cell for cell in row.find_all(["th", "td"]) if not _spans(cell)] for row in rows)
    if len(upper) != len(lower) or any(
        a.get_text(strip=True) and b.get_text(strip=True) for a, b in zip(upper, lower, strict=True)
    ):
        return
    for above, below in zip(upper, lower, strict=True):
        if below.get_text(strip=True):
            above.replace_with(below.extract())
    rows[1].decompose()


def _spans(cell: Any) -> bool:
    return bool({"colspan", "rowspan"}.intersection(cell.attrs))


def _label_image(image: Any, caption: str) -> None:
    if not str(image.get("src", "")).startswith("data:image/"):  # it would be fetched
        image.replace_with(f"[{image.get('alt') or 'a picture'}: not part of this page]")
    elif not str(image.get("alt") or "").strip():
        image["alt"] = f"Picture of the section “{caption}”" if caption else "Picture without a description"
