"""The page of a report, as its readers use it: with the keyboard, a screen reader, on paper."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.pages import Pages

FOCUSED = "(({ id, textContent, tagName }) => [tagName, textContent.trim()])(document.activeElement)"


@pytest.fixture
def report(chromium: Browser, pages: Pages) -> Iterator[Page]:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(pages.finished.as_uri())
    yield page
    page.close()


def test_the_verdict_stands_in_the_first_screen(report: Page) -> None:
    box = report.get_by_label("Verdict", exact=True).bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900
    assert report.locator(".word").inner_text().startswith("MECHANISM")


def test_a_screen_reader_finds_landmarks_headings_tables_and_pictures(report: Page) -> None:
    for landmark in ("banner", "main", "navigation", "contentinfo"):
        assert report.get_by_role(landmark).count() == 1
    assert report.get_by_role("heading", level=1).inner_text() == "Why does prompt_tokens drift?"
    table = report.get_by_role("table", name="Counts of both snapshots").first
    assert table.get_by_role("columnheader").all_inner_texts() == ["snapshot", "count", "drift"]
    assert table.get_by_role("rowheader").all_inner_texts() == ["a", "b"]
    assert report.get_by_role("img", name="Two bars: a has 285 tokens, b has 284.").count() == 1


def test_each_line_of_the_contents_leads_to_its_own_section(report: Page) -> None:
    links = report.get_by_role("navigation").get_by_role("link").all()
    places = []
    for link in links:
        link.click()
        target = report.locator(":target")
        assert target.inner_text() == link.inner_text()
        places.append(target.evaluate("element => element.id"))
    assert len(set(places)) == len(places) > 5


def test_everything_can_be_reached_and_opened_with_the_keyboard(report: Page) -> None:
    wanted = report.evaluate(
        "Array.from(document.querySelectorAll('a[href], summary, [tabindex]'))"
        ".filter(each => each.checkVisibility()).length"
    )
    reached = set()
    for _ in range(wanted):
        report.keyboard.press("Tab")
        reached.add(report.evaluate("Array.from(document.querySelectorAll('*')).indexOf(document.activeElement)"))
        outline = report.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", report.evaluate(FOCUSED)
    assert len(reached) == wanted
    summary = report.locator("details.code summary").first
    summary.focus()
    report.keyboard.press("Enter")
    assert report.locator("details.code pre").first.is_visible()


def test_code_and_logs_are_folded_with_the_last_lines_in_sight(report: Page) -> None:
    assert report.locator("details[open]").count() == 0
    assert (
        report.locator("pre.tail").first.inner_text().splitlines()[-1].startswith("INFO 11-24 10:00:00 [core.py:2999]")
    )


def test_on_paper_the_page_is_light_and_whole_without_its_controls(chromium: Browser, pages: Pages) -> None:
    page = chromium.new_page(color_scheme="dark")
    page.goto(pages.finished.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.get_by_role("navigation").is_visible()
    assert page.locator("section.verdict").is_visible()
    hidden = page.evaluate(
        "Array.from(document.querySelectorAll('.scroll, .prose')).filter(each => each.scrollWidth > each.clientWidth"
        " && getComputedStyle(each).overflowX !== 'visible').length"
    )
    assert hidden == 0
    assert page.pdf().startswith(b"%PDF")
    page.close()


def test_colours_that_were_chosen_for_white_stand_on_white_in_the_dark(chromium: Browser, pages: Pages) -> None:
    page = chromium.new_page(color_scheme="dark")
    page.goto(pages.hostile.as_uri())
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<div class=paper id=t>a<b>b</b></div>')"
    )
    style = page.evaluate("(({ backgroundColor, color }) => [backgroundColor, color])(getComputedStyle(t))")
    assert style == ["rgb(255, 255, 255)", "rgb(31, 35, 40)"]
    page.close()
