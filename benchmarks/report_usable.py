"""A page can be read and used within a second in Chromium: a report, and an index over 1,000 results.

From the request for the page until it has been laid out and painted, and the next frame has come. The index is also
filtered and sorted: until the frame after that. The peer of the report is nbconvert's page of the same notebook, which
loads its scripts from elsewhere: they are refused here, and do not hold it up.
"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._measurement import Measurement, summarise
from benchmarks._notebooks import run_case

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PAINTED = "() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
_FILTER = """() => new Promise(done => {
  const began = performance.now(), select = document.querySelector("select[name=verdict]");
  select.selectedIndex = 1;
  select.dispatchEvent(new Event("input", { bubbles: true }));
  document.querySelector("th button").click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
})"""
_RESULTS = 1000


def measure(*, runs: int = 5) -> list[Measurement]:
    """Opens each page several times, each time in a browser context that knows nothing."""
    from nbconvert import HTMLExporter
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        raise RuntimeError("there is no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        report = run_case(Path(name))
        peer = Path(name, "peer.html")
        peer.write_text(HTMLExporter().from_filename(str(report / "notebook.ipynb"))[0], encoding="utf-8")
        index = _write_index(Path(name, "many"))
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        took: dict[str, list[float]] = {"report": [], "index": [], "filter": [], "peer": []}
        for _ in range(runs):
            for key, path in (("report", report / "report.html"), ("index", index), ("peer", peer)):
                context = browser.new_context()
                context.route("http*://**", lambda route: route.abort())
                page = context.new_page()
                took[key].append(_open(page, path))
                if key == "index":
                    took["filter"].append(page.evaluate(_FILTER) / 1000)
                context.close()
        browser.close()
    peer_s = summarise(took["peer"])[0]
    return [
        _say("a report is usable in Chromium", took["report"], 1.0, peer_s),
        _say(f"an index over {_RESULTS:,} results is usable", took["index"], 1.0, peer_s),
        _say(f"{_RESULTS:,} results filtered and sorted", took["filter"], 0.25, peer_s),
    ]


def _open(page: "Page", path: Path) -> float:
    """Seconds until the page is painted, counted by the page's own clock, which starts with the request."""
    page.goto(path.as_uri(), wait_until="load")
    return float(page.evaluate(_PAINTED)) / 1000


def _say(promise: str, seconds: list[float], limit: float, peer_s: float) -> Measurement:
    median, spread = summarise(seconds)
    return Measurement(
        promise=promise,
        measured=median,
        limit=limit,
        unit="s",
        spread=spread,
        peer="nbconvert's page of the report's notebook",
        peer_measured=peer_s,
    )


def _write_index(folder: Path) -> Path:
    from triage.report import write_index
    from triage.result import Family, Result, Verdict

    folder.mkdir()
    results = [
        Result(
            case=f"case-{n:04d}",
            family=list(Family)[n % 6],
            verdict=list(Verdict)[n % 7],
            cause=f"The document's trailing space (character {n}) is a token in one snapshot and none in the other.",
            next_command=f"triage run case-{n:04d}",
            node=f"node-{n % 8}",
            versions={"vllm": f"0.3{n % 3}.0"},
            duration_s=float(n),
        )
        for n in range(_RESULTS)
    ]
    write_index(results, folder)
    return folder / "index.html"
