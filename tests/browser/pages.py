"""Pages of every kind: from a notebook that ran, from one that failed, from hostile content, over many results."""

import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.notebooks.shelf import Shelf, code, parameters, prose
from triage.cases import Case
from triage.report import Plan, index_folder, render_report, reproduce_cases, write_hang_report, write_index
from triage.report._parameters import parse_parameters
from triage.result import Arm, Evidence, Family, Result, Verdict

RUN = "document.documentElement.dataset.ran = 'yes'"
PLANTED = (
    f"<script>{RUN}</script>",
    f'<img src="x" onerror="{RUN}">',
    f'<svg onload="{RUN}"></svg>',
    f'<a href="javascript:{RUN}" onclick="{RUN}">follow</a>',
    f'<details open ontoggle="{RUN}"><summary>open</summary></details>',
    f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    "<img src='https://example.org/x.png'><link rel='stylesheet' href='https://example.org/x.css'>",
    "<style>@import 'https://example.org/x.css'; .verdict { display: none }</style>",
    "<div style='position:fixed;inset:0;background:url(https://example.org/x.png)'>over everything</div>",
    f"</pre></details></table></main></body><script>{RUN}</script>",
    f'" autofocus onfocus="{RUN}" x="',
)

_FRAME = (
    "import pandas as pd\n"
    "frame = pd.DataFrame({'tensor': ['model.layers.0.mlp.weight'], 'keys': [37], 'status': ['unexpected']})\n"
    "show_table(frame, caption='Keys that reach no parameter')"
)
_NAMED = (
    "named = pd.DataFrame({'count': [285, 284], 'drift': [0, 1]}, index=pd.Index(['a', 'b'], name='snapshot'))\n"
    "show_table(named, caption='Counts of both snapshots')\nnamed.style.highlight_max(color='#ffdddd')"
)
_PICTURE = (
    "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\naxes.bar(['a', 'b'], [285, 284])\n"
    "show_figure(figure, alt='Two bars: a has 285 tokens, b has 284.')"
)
_CONCLUDE = """
from triage.result import Arm, Evidence, Result
arms = (Arm(name="vLLM 0.21", verdict="REPRODUCED", cause="37 keys"), Arm(name="0.32", verdict="FLAKY", cause="3/20"))
seen = (Evidence(statement="keys that reach no parameter", observed="37", expected="0"),)
conclude(Result(case="any", family="checkpoint_keys", verdict="MECHANISM", cause="The rule `^a` comes `first`.",
    next_command="triage keys tiny:gemma3-legacy", needs_gpu="the hang itself", arms=arms, evidence=seen,
    findings={"keys": list(range(40))}, snapshots={"tiny:gemma3": "0123456789ab"}))
"""


class Pages:
    """Where each page lies; it is made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str) -> Path:
        """The page of this name."""
        path: Path = getattr(self, name)
        return path

    @cached_property
    def index(self) -> Path:
        """Over a case that concluded and one that failed, both run for real, side by side."""
        shelf, out = Shelf(self.folder / "catalogue"), self.folder / "out"
        cases = [_add_finished(shelf), _add_failed(shelf)]
        plans = [Plan(case=case, notebook=shelf.find(case), parameters=case.parameters) for case in cases]
        reproduce_cases(plans, out, jobs=2)
        return out / "index.html"

    @property
    def finished(self) -> Path:
        """The report of the case that concluded."""
        return self.index.parent / "finished" / "report.html"

    @property
    def failed(self) -> Path:
        """The report of the case that failed."""
        return self.index.parent / "failed" / "report.html"

    @cached_property
    def hang(self) -> Path:
        """The page of a watched command."""
        return _watch(self.folder / "hang")

    @cached_property
    def hostile(self) -> Path:
        """A report in which everything is hostile."""
        return _write_hostile(self.folder / "hostile")

    @cached_property
    def hostile_index(self) -> Path:
        """An index in which everything is hostile, the names of the folders too."""
        for text in PLANTED:
            folder = self.folder / "hostile-index" / text.replace("/", "-")
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(make_hostile_result(text).to_json(), encoding="utf-8")
        index_folder(self.folder / "hostile-index")
        return self.folder / "hostile-index" / "index.html"

    @cached_property
    def many(self) -> Path:
        """An index over a thousand results, and a thousand before them."""
        return _write_indexes(self.folder / "many", make_results(1000, seed=0), make_results(1000, seed=1))


def make_results(count: int, *, seed: int) -> list[Result]:
    """Many results of several families, verdicts, versions and nodes."""
    chance, began = random.Random(seed), datetime(2026, 11, 24, tzinfo=UTC)
    return [
        Result(
            case=f"case-{n:04d}",
            family=chance.choice(list(Family)[:6]),
            verdict=chance.choice(list(Verdict)),
            cause=f"The trailing space (character {n}) is a token in one snapshot and none in the other.",
            next_command=f"triage run case-{n:04d}",
            node=f"node-{n % 8}",
            versions={"vllm": f"0.3{n % 3}.0"},
            started=began + timedelta(minutes=n),
            duration_s=1 + chance.random() * 400,
        )
        for n in range(count)
    ]


def make_hostile_result(text: str) -> Result:
    """A result that says the text wherever it can say anything."""
    return Result(
        case=f"c{PLANTED.index(text) if text in PLANTED else 0}",
        family=Family.UNKNOWN,
        verdict=Verdict.FLAKY,
        cause=text,
        next_command=text,
        needs_gpu=text,
        node=text,
        arms=(Arm(name=text, verdict=Verdict.INFRA, cause=text),),
        evidence=(Evidence(statement=text, observed=text, expected=text),),
        findings={text: [text] * 20},
        parameters={"model": text, text: text},
        versions={"vllm": text},
        snapshots={text: text},
        duration_s=1.0,
    )


def _add_finished(shelf: Shelf) -> Case:
    table = "## What upstream expects\n\n| since | count |\n|---|---|\n| 0.20 | 286 |\n\n```python\nassert counts\n```"
    case = shelf.add(
        "finished",
        parameters("repeat: int = 20  # how often\nmodel: str = 'tiny:e5'  # which model"),
        prose("# Why does `prompt_tokens` drift?\n\n**Question.** Which text carries the extra token?"),
        prose(table),
        code(_FRAME),
        prose("### The same once more\n\nA sentence."),
        code(_NAMED),
        code(_PICTURE),
        prose("## What upstream expects\n\nTwice the same heading."),
        code("for n in range(3000): print(f'INFO 11-24 10:00:00 [core.py:{n}] step {n} ' + 'x' * (n % 200))"),
        code("import sys\nprint('WARNING: a short word', file=sys.stderr)\n{'plain': 'repr'}"),
        parameters="repeat = 3",
        end=code(_CONCLUDE.strip()),
    )
    return case.model_copy(update={"parameters": {"repeat": 3}})


def _add_failed(shelf: Shelf) -> Case:
    return shelf.add("failed", prose("# It breaks\n\nWhere?"), code("counts = {}\ncounts['<b>']"), code("'never'"))


def _write_hostile(folder: Path) -> Path:
    cells: list[dict[str, Any]] = [prose("# Hostile"), prose("## Every way in")]
    for text in PLANTED:
        picture = {"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'><script>{RUN}</script></svg>"}
        cells += [
            prose(f"## A heading {text}\n\n{text}\n\n[a link]({text}) and ![a picture](https://example.org/y.png)"),
            code(f"x = {text!r}")
            | {
                "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": f"{text}\n" * 30},
                    {"output_type": "error", "ename": text, "evalue": text, "traceback": [text] * 20},
                    {"output_type": "display_data", "data": {"text/html": text, "text/plain": text}, "metadata": {}},
                    {"output_type": "display_data", "data": {"text/markdown": text}, "metadata": {}},
                    {"output_type": "display_data", "data": picture, "metadata": {"alt": text}},
                ]
            },
        ]
    everything = "\n".join(PLANTED)
    page = render_report(
        {"cells": cells},
        result=make_hostile_result(everything),
        case=Case(
            id="hostile",
            family=Family.UNKNOWN,
            title=everything,
            upstream='https://github.com/"onmouseover="x',
            test=everything,
            group=everything,
            notebook="hostile.ipynb",
        ),
        parameters=parse_parameters(f"model: str = 'd'  # {PLANTED[0]}"),
        log=everything * 20,
    )
    folder.mkdir()
    (folder / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


def _write_indexes(folder: Path, *runs: Sequence[Result]) -> Path:
    folder.mkdir()
    for results in runs:
        write_index(results, folder)
    return folder / "index.html"


def _watch(folder: Path) -> Path:
    from triage.hangs import watch_command

    deadlock = f"import threading; print({PLANTED[0]!r}); lock = threading.Lock(); lock.acquire(); lock.acquire()"
    record = watch_command([sys.executable, "-u", "-c", deadlock], out=folder, stall_s=1.0)
    write_hang_report(record, folder / "report.html")
    return folder / "report.html"
