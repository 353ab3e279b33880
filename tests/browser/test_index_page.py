"""The page over a thousand results: filtered, sorted, passed on, and whole without its script."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import Pages, make_results

ROWS = "table.index tbody tr"


@pytest.fixture
def index(chromium: Browser, pages: Pages) -> Iterator[Page]:
    page = chromium.new_page()
    page.goto(pages.many.as_uri())
    yield page
    page.close()


def read_cases(page: Page) -> list[str]:
    return page.locator(f"{ROWS}:not([hidden]) th a").all_inner_texts()


@pytest.mark.parametrize(
    ("label", "value", "fits"),
    [
        ("Family", "token_count", lambda result: result.family == "token_count"),
        ("Verdict", "FLAKY", lambda result: result.verdict == "FLAKY"),
        ("vLLM", "0.31.0", lambda result: result.versions["vllm"] == "0.31.0"),
        ("Node", "node-3", lambda result: result.node == "node-3"),
    ],
)
def test_a_filter_leaves_what_it_names(index: Page, label, value, fits) -> None:
    index.get_by_role("combobox", name=label).select_option(value)
    wanted = [result.case for result in make_results(1000, seed=1) if fits(result)]
    assert read_cases(index) == wanted
    expect(index.get_by_role("status")).to_have_text(f"{len(wanted)} of 1,000 shown")


def test_filters_add_up_and_are_undone_together(index: Page) -> None:
    index.get_by_role("combobox", name="Verdict").select_option("INFRA")
    index.get_by_label("Text").fill("CHARACTER 9")
    wanted = [r.case for r in make_results(1000, seed=1) if r.verdict == "INFRA" and "character 9" in r.cause]
    assert read_cases(index) == wanted != []
    index.get_by_role("button", name="Show all").click()
    expect(index.get_by_role("status")).to_have_text("1,000 of 1,000 shown")


def test_a_view_can_be_passed_on_as_an_address(index: Page, chromium: Browser) -> None:
    index.get_by_role("combobox", name="Node").select_option("node-5")
    other = chromium.new_page()
    other.goto(index.url)
    assert read_cases(other) == read_cases(index) == [f"case-{n:04d}" for n in range(5, 1000, 8)]
    other.close()


def test_a_column_sorts_both_ways_and_says_so(index: Page) -> None:
    took = {result.case: result.duration_s for result in make_results(1000, seed=1)}
    header = index.get_by_role("columnheader", name="Took")
    header.get_by_role("button").click()
    assert read_cases(index) == sorted(took, key=took.__getitem__)
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").press("Enter")
    assert read_cases(index) == sorted(took, key=took.__getitem__, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"


def test_what_changed_since_the_last_run_is_told_and_can_be_filtered(index: Page) -> None:
    before, after = (make_results(1000, seed=seed) for seed in (0, 1))
    changed = [b.case for a, b in zip(before, after, strict=True) if a.verdict is not b.verdict]
    assert f"{len(changed)} changed, 0 new, {1000 - len(changed)} the same." in index.locator("main").inner_text()
    index.get_by_role("combobox", name="Since the last run").select_option("changed")
    assert read_cases(index) == changed
    first = next((a, b) for a, b in zip(before, after, strict=True) if a.verdict is not b.verdict)
    row = index.locator(f"{ROWS}:not([hidden])").first.inner_text()
    assert f"was {first[0].verdict.replace('_', ' ')}" in row


def test_the_index_links_reports_and_results(chromium: Browser, pages: Pages) -> None:
    page = chromium.new_page()
    page.goto(pages.index.as_uri())
    page.get_by_role("link", name="finished", exact=True).click()
    assert page.get_by_role("heading", level=1).inner_text() == "Why does prompt_tokens drift?"
    page.get_by_role("link", name="all reports").click()
    page.get_by_role("link", name="result.json of failed").click()
    assert '"verdict": "INCOMPLETE"' in page.content()
    page.close()


def test_without_scripts_the_table_is_whole_and_no_dead_control_is_shown(chromium: Browser, pages: Pages) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages.many.as_uri())
    assert page.locator(ROWS).count() == 1000
    assert not page.locator("form").is_visible()
    assert page.locator("th button").count() == 0
    context.close()
