"""The page: nothing is loaded, nothing runs, everything can be read."""

import base64
import hashlib
import json
import re

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from triage.cases import Case
from triage.report import render_report, write_index
from triage.report._body import read_body
from triage.report._markup import clean_text, fold_text, render_markdown, sanitise_html
from triage.report._notebook import BANNER_MIME, RESULT_MIME
from triage.report._parameters import parse_parameters
from triage.result import Arm, Evidence, Result

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=https://example.org/x.png>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<style>@import url(https://example.org/x.css)</style>",
    "<p style='background-image:url(https://example.org/x.png)'>x</p>",
    "<iframe src=https://example.org></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<meta http-equiv=refresh content='0;url=https://example.org'>",
    "<base href=https://example.org>",
    "<form action=https://example.org><input name=x></form>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "</pre></details></body><script>alert(1)</script>",
    "<object data=https://example.org></object><embed src=https://example.org>",
    "<video src=https://example.org/x.mp4 poster=https://example.org/x.png></video>",
]


def bundle(**data):
    return {"output_type": "display_data", "data": data, "metadata": {}}


def code(source, *outputs, **metadata):
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": list(outputs)}


def prose(source):
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def make_result(text="plain", **changes):
    fields = {
        "case": "c",
        "family": "token_count",
        "verdict": "REPRODUCED",
        "cause": text,
        "next_command": text,
        "arms": (Arm(name=text, verdict="NOT_REPRODUCED", cause=text),),
        "evidence": (Evidence(statement=text, observed=text, expected=text),),
        "needs_gpu": text,
        "findings": {text: [text]},
        "parameters": {"p": text},
        "versions": {"vllm": text, "torch": None},
        "snapshots": {text: text},
    }
    return Result(**(fields | changes))


def find_dangers(html):
    """What of a page would run, load or leave it by itself."""
    page = BeautifulSoup(html, "html.parser")
    dangers = [
        tag.name for tag in page.find_all(["script", "iframe", "object", "embed", "link", "base", "form", "svg"])
    ]
    for tag in page.find_all(True):
        for name, value in tag.attrs.items():
            text = " ".join(value) if isinstance(value, list) else str(value)
            loads = name in {"src", "srcset", "poster", "data", "background"} and not text.startswith("data:image/")
            leaves = name == "href" and re.match(r"\s*(?!https?:|mailto:)[a-z][a-z0-9+.-]*:", text, re.IGNORECASE)
            if name.startswith("on") or loads or leaves or (name == "style" and "url" in text):
                dangers.append(f"{tag.name} {name}={text}")
    dangers += [f"style: {m}" for tag in page.find_all("style") for m in re.findall(r"@import|url\(", tag.text)]
    dangers += ["meta refresh" for tag in page.find_all("meta") if tag.get("http-equiv") == "refresh"]
    return dangers


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_hostile_markup_is_dropped(text):
    everywhere = [
        prose(f"# {text}"),
        prose(f"## {text}\n\n{text}\n\n[x]({text}) ![y](https://example.org/y.png)"),
        code(
            f"x = {text!r}",
            {"output_type": "stream", "name": "stdout", "text": text},
            {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]},
            bundle(**{"text/plain": text}),
            bundle(**{"text/html": text, "text/plain": text}),
            bundle(**{"text/markdown": text}),
            bundle(**{"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'>{text}</svg>"}),
            {
                "output_type": "display_data",
                "data": {"image/png": text},
                "metadata": {"image/png": {"alt": text, "width": text}},
            },
        ),
    ]
    case = Case(
        id="c", family="unknown", title=text, upstream=f"https://github.com/{text}", test=text, notebook="n.ipynb"
    )
    html = render_report(
        {"cells": everywhere},
        result=make_result(text),
        case=case,
        parameters=parse_parameters(f"p: str = 'd'  # {text}"),
        log=text * 30,
    )
    assert find_dangers(html) == []
    page = BeautifulSoup(html, "html.parser")
    assert page.find(class_="cause").text == text
    assert text in [pre.text for pre in page.find_all("pre")]


def read_policy(page):
    return page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]


def test_a_reports_own_policy_forbids_scripts_and_loads():
    html = render_report({"cells": []}, result=make_result())
    policy = read_policy(BeautifulSoup(html, "html.parser"))
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy
    assert find_dangers(html) == []


@pytest.mark.parametrize("text", HOSTILE)
def test_the_index_allows_one_script_by_its_hash_and_nothing_else(tmp_path, text):
    write_index([make_result(text, node=text)], tmp_path)
    html = (tmp_path / "index.html").read_text()
    page = BeautifulSoup(html, "html.parser")
    [script] = page.find_all("script")
    digest = base64.b64encode(hashlib.sha256(script.string.encode()).digest()).decode()
    policy = read_policy(page)
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in policy
    assert script.attrs == {}
    assert [danger for danger in find_dangers(html) if danger not in {"script", "form"}] == []
    assert page.find(class_="cause").contents[0] == text


@given(st.text())
def test_no_text_escapes_the_sanitiser(text):
    assert find_dangers(sanitise_html(text)) == []
    assert find_dangers(render_markdown(text)) == []


def test_the_page_has_the_verdict_first_and_the_environment_last():
    html = render_report(
        {"cells": [prose("# Title\n\nThe question."), prose("## One"), prose("### Two")]},
        result=make_result(),
        parameters=parse_parameters("p: str = 'd'  # what it is"),
    )
    page = BeautifulSoup(html, "html.parser")
    assert [link.text for link in page.nav.find_all("a")] == ["Evidence", "One", "Two", "Parameters", "Environment"]
    for link in page.nav.find_all("a"):
        assert page.find(id=link["href"].removeprefix("#")), link
    assert html.index('class="word"') < html.index("The question.") < html.index("<nav") < html.index(">Evidence</h2>")
    assert "what it is" in html
    assert page.find("th", string="torch").find_next("td").text == "absent"


def test_every_table_has_a_caption_and_every_header_a_scope():
    frame = "<table><thead><tr><th></th><th>a</th></tr></thead><tbody><tr><th>0</th><td>1</td></tr></tbody></table>"
    cells = [prose("## Counts\n\n| a |\n|---|\n| 1 |"), code("frame", bundle(**{"text/html": frame}))]
    page = BeautifulSoup(render_report({"cells": cells}, result=make_result()), "html.parser")
    captions = [table.caption.text for table in page.find_all("table")]
    assert captions.count("Counts") == 2
    assert all(captions)
    assert all(header["scope"] in {"col", "row"} for header in page.find_all("th"))


@pytest.mark.parametrize(
    ("data", "metadata", "alt"),
    [
        ({"text/plain": "<Figure size 640x480 with 1 Axes>"}, {}, "Picture of the section “Counts”"),
        ({"text/plain": "One bar is higher."}, {}, "One bar is higher."),
        ({"text/plain": "x"}, {"image/png": {"alt": "From the metadata."}}, "From the metadata."),
        ({"text/plain": "x"}, {"alt": "From the output."}, "From the output."),
    ],
)
def test_a_picture_has_a_text_of_its_own(data, metadata, alt):
    output = {"output_type": "display_data", "data": {"image/png": "iVBOR\n", **data}, "metadata": metadata}
    [_, block] = read_body({"cells": [prose("## Counts"), code("plot()", output)]}).blocks
    assert block.outputs[0].alt == alt
    assert block.outputs[0].source == "data:image/png;base64,iVBOR"


def test_the_banner_the_parameters_and_the_result_are_not_shown_twice():
    cells = [
        code("a = 1", tags=["parameters"]),
        code("a = 2", tags=["injected-parameters"]),
        code("open_report('c')", bundle(**{BANNER_MIME: {}, "text/html": "<b>INCOMPLETE</b>"})),
        code("conclude(r)", bundle(**{BANNER_MIME: {}, RESULT_MIME: {}, "text/html": "<b>REPRODUCED</b>"})),
    ]
    [block] = read_body({"cells": cells}).blocks
    assert (block.first_line, block.outputs, block.number) == ("conclude(r)", (), 3)


def test_a_long_log_is_folded_with_its_last_lines_in_sight():
    log = [{"output_type": "stream", "name": "stderr", "text": f"line {n}\n"} for n in range(5000)]
    page = BeautifulSoup(render_report({"cells": [code("serve()", *log)]}, result=make_result()), "html.parser")
    folded = page.find("details", class_="log", string=None)
    assert "stderr: 5,000 lines" in page.text
    assert page.find(class_="tail").text.splitlines()[-1] == "line 4999"
    assert folded is not None
    assert "The first 3,000 lines are left out here." in page.text


def test_a_widget_is_replaced_by_its_text():
    widget = bundle(**{"text/html": "<script>draw()</script><div></div>", "text/plain": "a chart of 3 points"})
    [block] = read_body({"cells": [code("chart", widget)]}).blocks
    assert block.outputs[0].text.tail == "a chart of 3 points"


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("\x1b_bk;t=1776278697000\x07--- tests", "--- tests"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        (" 10%\r 50%\r100%\n", "100%\n"),
        ("windows\r\n", "windows\n"),
        ("a\x00b\x08", "ab"),
    ],
)
def test_terminal_noise_is_gone(raw, seen):
    assert clean_text(raw) == seen


@given(st.text())
def test_folding_loses_no_line_of_a_short_text(text):
    folded = fold_text(text)
    assert folded.cut == 0
    assert "\n".join(filter(None, [folded.head, folded.tail])) == clean_text(text).rstrip("\n")


def test_the_index_names_paths_that_are_relative(tmp_path):
    index = write_index([make_result(), make_result(case="d", verdict="INFRA")], tmp_path)
    assert index == json.loads((tmp_path / "index.json").read_text())
    assert [row["report"] for row in index["results"]] == ["c/report.html", "d/report.html"]
    assert index["schema_version"] == 1
