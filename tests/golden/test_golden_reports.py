"""Whole outputs as they were last looked at and found good: ``pytest tests/golden --refresh-golden`` writes them anew.

They hold what a reader sees. Style, pictures, versions, times and this machine are left out.
"""

import re
from pathlib import Path

import pytest

from tests.notebooks.shelf import Shelf, code, parameters, prose
from triage.redaction import redact_text
from triage.report import Plan, reproduce_cases
from triage.report._render import render_opening
from triage.report._reproduce import plan_opening, read_parameters

DATA = Path(__file__).with_name("data")
FRAME = (
    "import pandas as pd\n"
    "show_table(pd.DataFrame({'count': [285, 284], 'text': ['<b>', '▁']}, index=pd.Index(['a', 'b'], name='snapshot')),"
    " caption='Counts & texts')"
)
FIGURE = "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\nshow_figure(figure, alt='An empty picture.')"
CONCLUDE = """
from triage.result import Arm, Evidence, Result
conclude(Result(case="any", family="token_count", verdict="MECHANISM", cause="A space is `▁` in a.",
    next_command="triage tokens a b", needs_gpu="the hang itself", findings={"drift": [1, 0]},
    arms=(Arm(name="a", verdict="REPRODUCED", cause="285"), Arm(name="b", verdict="NOT_REPRODUCED", cause="284")),
    evidence=(Evidence(statement="tokens of a", observed="285", expected="284 or 285"),), snapshots={"a": "0123abcd"}))
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every output of a small run, without what differs from one machine or moment to the next."""
    folder = tmp_path_factory.mktemp("golden")
    shelf, out = Shelf(folder / "catalogue"), folder / "out"
    whole = shelf.add(
        "whole",
        parameters("repeat: int = 20  # how often\nname: str = 'main'  # a branch"),
        prose("# Why does it drift?\n\n**Question.** Which text?"),
        prose("## What is expected\n\n| since | count |\n|---|---|\n| 0.20 | `286` |"),
        code(FRAME),
        prose("### A picture\n\nAnd a log."),
        code(FIGURE),
        code("for n in range(40): print(f'INFO step {n} <done>')"),
        end=code(CONCLUDE.strip()),
    )
    broken = shelf.add("broken", prose("# It breaks"), code("{}['<key>']"), code("'never'"))
    plans = [
        Plan(case=whole, notebook=shelf.find(whole), parameters={"repeat": 3}),
        Plan(case=broken, notebook=shelf.find(broken)),
    ]
    results = reproduce_cases(plans, out, jobs=2)
    opened = plan_opening(whole, out, parameters={"repeat": 3})
    (out / "opening.html").write_text(
        render_opening(opened, case=whole, parameters=read_parameters(shelf.find(whole))), encoding="utf-8"
    )
    names = ("whole/report.html", "broken/report.html", "opening.html", "index.html", "index.json", "index.junit.xml")
    return {
        name.replace("/", "-"): normalise((out / name).read_text(encoding="utf-8"), out, results[0]) for name in names
    }


def normalise(text: str, out: Path, result) -> str:
    """The text with names in place of what this machine and this moment put there."""
    for pattern, name in (
        (r"<style>.*?</style>", "<style>(style)</style>"),
        (r'(?<=aria-label="Traceback of cell \d">).*?(?=</pre>)', "(IPython's traceback)"),
        (r"(?<=<td>)absent(?=</td>)", "(version)"),
        (r'"(cuda|hip)": (null|"[^"]*")', r'"\1": "(version)"'),
        (r"<script>.*?</script>", "<script>(script)</script>"),
        (r"(?<=sha256-)[\w+/=]+", "(hash)"),
        (r'(?<=name="triage-result" content=")[0-9a-f]{64}', "(hash)"),
        (r'(?<=image/png;base64,)[^"]+', "(picture)"),
        (r'(?<=" width=")\d+', "(width)"),
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d\.\d+)?( UTC|\+00:00|Z)", "(time)"),
        (r"(?<=took )\d+\.\d s|(?<=number\">)\d+\.\d s", "(duration)"),
        (r'((?<=data-took=")|(?<=time=")|(?<="duration_s": ))\d+\.\d+', "(seconds)"),
    ):
        text = re.sub(pattern, name, text, flags=re.DOTALL)
    for version in sorted(filter(None, result.versions.values()), key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(version)}(?![\w.])", "(version)", text)
    return text.replace(redact_text(str(out)), "(out)").replace(result.node, "(node)")


@pytest.mark.parametrize(
    "name",
    ["whole-report.html", "broken-report.html", "opening.html", "index.html", "index.json", "index.junit.xml"],
)
def test_an_output_is_what_it_was(name: str, outputs: dict[str, str], request: pytest.FixtureRequest) -> None:
    golden = DATA / name
    if request.config.getoption("--refresh-golden"):
        golden.write_text(outputs[name], encoding="utf-8")
    assert outputs[name] == golden.read_text(encoding="utf-8"), "If this is meant: pytest tests/golden --refresh-golden"
