"""Every page, in a real browser: nothing runs, nothing is fetched, all of it can be read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.pages import Pages

NAMES = ("finished", "failed", "hostile", "hang", "index", "hostile_index")
VIEWS = {"light": ("light", 1280), "dark": ("dark", 1280), "phone": ("light", 375)}
OPEN_ALL = "document.querySelectorAll('details').forEach(each => { each.open = true })"
HAS_RUN = "document.documentElement.dataset.ran ?? null"


@dataclass
class Visit:
    """A page in a browser, and what it did there."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(params=[f"{name}-{view}" for name in NAMES for view in VIEWS])
def visit(request: pytest.FixtureRequest, chromium: Browser, pages: Pages) -> Iterator[Visit]:
    name, _, view = request.param.partition("-")
    scheme, width = VIEWS[view]
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    yield go(context.new_page(), pages.find(name))
    context.close()


def go(page: Page, path: Path) -> Visit:
    """Opens a page and keeps what it says to the console and asks of the network."""
    visit = Visit(page=page)
    page.on("console", lambda message: visit.said.append(message.text))
    page.on("pageerror", lambda error: visit.said.append(str(error)))
    page.on("dialog", lambda dialog: visit.said.append(dialog.message))
    page.on("request", lambda request: visit.asked.append(request.url))
    page.goto(path.as_uri())
    return visit


def is_local(url: str, path: str) -> bool:
    return url == path or url.startswith("data:")


def test_a_page_breaks_no_rule_of_accessibility_also_with_everything_unfolded(visit: Visit) -> None:
    for _ in range(2):
        found = Axe().run(visit.page).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"]) for v in found] == []
        visit.page.evaluate(OPEN_ALL)


def test_a_page_is_no_wider_than_the_window(visit: Visit) -> None:
    visit.page.evaluate(OPEN_ALL)
    width, window = visit.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= window


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_nothing_to_the_console_asks_for_nothing_and_runs_nothing(
    name: str, chromium: Browser, pages: Pages
) -> None:
    path = pages.find(name)
    page = chromium.new_page()
    visit = go(page, path)
    page.evaluate(OPEN_ALL)
    for link in page.get_by_text("follow", exact=True).all():
        link.click(no_wait_after=True)
    page.mouse.wheel(0, 100_000)
    page.wait_for_load_state("networkidle")
    assert visit.said == []
    assert [url for url in visit.asked if not is_local(url, path.as_uri())] == []
    assert page.evaluate(HAS_RUN) is None
    page.close()


def test_the_policy_stops_a_script_that_slipped_through(chromium: Browser, pages: Pages, tmp_path: Path) -> None:
    """The allow-list is one wall, the policy the second: a page with a planted script must not run it."""
    planted = "<script>document.documentElement.dataset.ran = 'yes'</script>"
    for path in (pages.finished, pages.index):
        broken = tmp_path / path.name
        broken.write_text(path.read_text().replace("<main>", f"{planted}<main>", 1))
        visit = go(chromium.new_page(), broken)
        assert visit.page.evaluate(HAS_RUN) is None
        assert any("Content Security Policy" in text for text in visit.said)
        visit.page.close()


@pytest.mark.parametrize("name", [*NAMES, "many"])
def test_a_page_is_smaller_than_two_megabytes(name: str, pages: Pages) -> None:
    assert pages.find(name).stat().st_size < 2_000_000
