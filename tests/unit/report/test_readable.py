"""Foreign markup on a page: named, in one outline, readable in the dark, and never too big."""

import pytest
from bs4 import BeautifulSoup
from markupsafe import Markup

from tests.unit.report.test_page import bundle, code, make_result, prose
from triage.report import render_report
from triage.report._body import read_body
from triage.report._markup import render_markdown, sanitise_html

NAMED_INDEX = """<table><thead><tr><th></th><th>count</th></tr><tr><th>snapshot</th><th></th></tr></thead>
<tbody><tr><th>a</th><td>285</td></tr></tbody></table>"""
TWO_LEVELS = """<table><thead><tr><th colspan="2">both</th></tr><tr><th>a</th><th>b</th></tr></thead></table>"""


def read(html: Markup) -> BeautifulSoup:
    return BeautifulSoup(html, "html.parser")


def test_the_two_halves_of_a_header_row_become_one():
    table = read(sanitise_html(NAMED_INDEX))
    assert [[cell.text for cell in row.find_all("th")] for row in table.thead.find_all("tr")] == [["snapshot", "count"]]
    assert table.tbody.th["scope"] == "row"


def test_a_header_of_two_levels_stays_one():
    assert len(read(sanitise_html(TWO_LEVELS)).find_all("tr")) == 2


def test_a_header_cell_that_says_nothing_is_none():
    table = read(sanitise_html("<table><thead><tr><th></th><th>a</th></tr></thead></table>"))
    assert [cell.name for cell in table.tr.find_all(True)] == ["td", "th"]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<img src="data:image/png;base64,x">', "Picture of the section “Counts”"),
        ('<img src="data:image/png;base64,x" alt="A bar.">', "A bar."),
    ],
)
def test_a_picture_in_an_output_has_a_text(html, text):
    assert read(sanitise_html(html, caption="Counts")).img["alt"] == text


def test_a_picture_that_would_be_fetched_is_named_instead():
    assert render_markdown("![a chart](https://example.org/x.png)").striptags() == "[a chart: not part of this page]"


def test_a_link_without_words_is_no_link():
    assert read(sanitise_html("<a href='https://example.org'></a>word")).a is None


@pytest.mark.parametrize(
    ("style", "is_paper"),
    [
        ("color: #a00", True),
        ("background-color: #ffdddd", True),
        ("margin: 0; color:red", True),
        ("background-color: rgba(1, 2, 3, 0.2)", False),
        ("color: inherit", False),
        ("border-left: 1px", False),
    ],
)
def test_colours_for_a_white_ground_get_one(style, is_paper):
    assert bool(read(sanitise_html(f"<p style='{style}'>x</p>")).find(class_="paper")) is is_paper


def test_headings_form_one_outline_whatever_the_cells_hold():
    cells = [
        prose("# Title"),
        prose("# Again a title\n\n#### Deep"),
        code("x", bundle(**{"text/html": "<h1>An output</h1>"})),
    ]
    page = read(Markup(render_report({"cells": cells}, result=make_result())))
    assert [(h.name, h.text) for h in page.main.find_all(["h1", "h4", "h5", "h6"])] == []
    assert page.find("h3", string="Deep")
    assert page.find(class_="output").strong.text == "An output"


def test_headings_of_the_same_words_have_places_of_their_own():
    body = read_body({"cells": [prose("## Same\n\n## Other"), prose("## Same"), prose("## The evidence")]})
    assert [anchor for _, _, anchor in body.headings] == ["same", "other", "same-2", "the-evidence-2"]
    ids = [tag["id"] for block in body.blocks for tag in read(block.html).find_all(id=True)]
    assert ids == ["same", "other", "same-2", "the-evidence-2"]


BIG = "x" * 3_000_000
LINES = "\n".join("<" * 900 for _ in range(4000))


@pytest.mark.parametrize(
    "output",
    [
        {"output_type": "stream", "name": "stdout", "text": BIG},
        {"output_type": "stream", "name": "stdout", "text": LINES},
        {"output_type": "error", "ename": BIG, "evalue": BIG, "traceback": [BIG, LINES]},
        bundle(**{"text/html": f"<p>{BIG}</p>"}),
        bundle(**{"text/markdown": BIG}),
        bundle(**{"text/plain": LINES}),
        bundle(**{"image/png": BIG, "text/plain": "A big picture."}),
        bundle(**{"image/png": "x", "text/plain": BIG}),
        bundle(**{"text/html": "<p>" + "word " * 40_000}),
    ],
    ids=["line", "lines", "error", "html", "markdown", "plain", "picture", "alt", "markup"],
)
def test_no_output_makes_a_page_bigger_than_two_megabytes(output):
    cells = [prose("# Title"), *[code(f"show({n})", output) for n in range(12)]]
    page = render_report({"cells": cells}, result=make_result(BIG), log=LINES)
    assert len(page.encode()) < 2_000_000


def test_a_table_that_is_too_big_is_shown_as_its_text():
    cells = [code("frame", bundle(**{"text/html": f"<p>{BIG}</p>", "text/plain": "the same as text"}))]
    [block] = read_body({"cells": cells}).blocks
    assert block.outputs[0].text.tail == "the same as text"


def test_what_is_left_out_is_named():
    cells = [code("draw()", bundle(**{"image/png": BIG, "text/plain": "A big picture."}))]
    page = read(Markup(render_report({"cells": cells}, result=make_result())))
    assert page.find(class_="tail").text == "A big picture. (3,000,022 bytes): see notebook.ipynb"
