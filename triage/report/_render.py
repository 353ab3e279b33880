"""The page of one report: one file, nothing loaded from anywhere.

nbconvert's HTML exporter is not used: it takes two seconds to import, wants JupyterLab's style sheets, and loads
scripts from CDNs unless told otherwise. What a page needs of it is mistune, pygments and bleach.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from triage.cases import Case
from triage.report._body import Body, read_body
from triage.report._markup import fold_text, shorten_line
from triage.report._parameters import Parameter
from triage.result import Family, Result, Verdict

TEMPLATES = Path(__file__).with_name("templates")

_MEANING = {
    Verdict.REPRODUCED: "the symptom was seen",
    Verdict.MECHANISM: "the cause was shown; the symptom needs hardware that is not here",
    Verdict.NOT_REPRODUCED: "ran whole, symptom absent",
    Verdict.FLAKY: "seen in some runs",
    Verdict.INFRA: "the node, not the code",
    Verdict.INCONCLUSIVE: "ran, the evidence does not decide",
    Verdict.INCOMPLETE: "did not finish",
}


def prepare_rendering() -> None:
    """Loads what pages need, which takes longer than a page does: meant for the time while a notebook runs."""
    example = Result(case="c", family=Family.UNKNOWN, verdict=Verdict.INCOMPLETE, cause="c", next_command="n")
    cells = [
        {"cell_type": "markdown", "source": "# a", "metadata": {}},
        {"cell_type": "code", "source": "a", "metadata": {}, "outputs": []},
    ]
    render_report({"cells": cells}, result=example)


def render_report(
    notebook: Mapping[str, Any],
    *,
    result: Result,
    case: Case | None = None,
    parameters: Sequence[Parameter] = (),
    log: str = "",
) -> str:
    """The page of one report, as HTML.

    ``notebook`` is the executed notebook's JSON, ``parameters`` its parameters cell, ``log`` the text of the
    kernel's own output. Everything in them is shown as text; markup passes an allow-list.

    >>> result = Result(case="c", family="unknown", verdict="INFRA", cause="<no disk>", next_command="df")
    >>> "&lt;no disk&gt;" in render_report({"cells": []}, result=result)
    True
    """
    body = read_body(dict(notebook))
    return render_body(body, result=result, case=case, parameters=_plan_rows(result, parameters), log=log)


def render_opening(result: Result, *, case: Case, parameters: Sequence[Parameter]) -> str:
    """The page of a run that has not come to its end: what it will ask, and nothing of an answer.

    It is written before the notebook starts, so it needs none of what makes a notebook into a page.
    """
    body = Body(title=case.title, lead=Markup(), blocks=())
    rows = _plan_rows(result, parameters)
    return render_body(body, result=result, case=case, parameters=rows, beside=("result.json",))


def name_result(result: Result) -> str:
    """What a page says of the result that it shows, so that the two can be told to belong together."""
    return hashlib.sha256(result.to_json().encode()).hexdigest()


def render_body(
    body: Body,
    *,
    result: Result,
    case: Case | None = None,
    parameters: Sequence[Mapping[str, Any]] = (),
    log: str = "",
    beside: Sequence[str] = ("notebook.ipynb", "result.json"),
    index: str | None = "../index.html",
) -> str:
    """The page around blocks that are already markup. ``beside`` are the files in its folder that it links to."""
    return (
        read_environment()
        .get_template("report.html.j2")
        .render(
            result=result,
            case=case,
            body=body,
            title=body.title or (case.title if case else result.case),
            parameters=parameters,
            findings=fold_text(json.dumps(result.findings, indent=2, ensure_ascii=False)) if result.findings else None,
            log=fold_text(log) if log.strip() else None,
            digest=name_result(result),
            beside=beside,
            index=index,
        )
    )


def _plan_rows(result: Result, parameters: Sequence[Parameter]) -> list[dict[str, Any]]:
    """One row for each parameter: what it was, what it would have been, what it means."""
    rows = []
    for p in parameters:
        given = p.name in result.parameters
        value = result.parameters.get(p.name, p.default)
        rows.append({"name": p.name, "value": value, "changed": given and value != p.default, "parameter": p})
    known = {p.name for p in parameters}
    rows += [
        {"name": n, "value": v, "changed": True, "parameter": None}
        for n, v in result.parameters.items()
        if n not in known
    ]
    return rows


def _show_value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _show_duration(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"


def _show_words(name: str) -> str:
    return name.replace("_", " ")


def _show_ticks(text: str) -> Markup:
    """A sentence whose `pieces in backticks` become code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _show_moment(when: datetime | str | None) -> str:
    if when is None:
        return "—"
    moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _show_path(path: str) -> str:
    """A relative path as an address: a colon in a name makes no scheme, and a # no place in a page."""
    return quote(path)


@cache
def read_environment() -> jinja2.Environment:
    """The templates, with the filters that they use."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "value": _show_value,
        "duration": _show_duration,
        "words": _show_words,
        "ticks": _show_ticks,
        "short": shorten_line,
        "moment": _show_moment,
        "path": _show_path,
    }
    environment.globals |= {
        "meaning": _MEANING,
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
    }
    return environment
