"""The results as JUnit XML, which CI systems show."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from triage.report._markup import clean_text
from triage.result import Verdict


def render_junit(rows: Sequence[Mapping[str, Any]], *, expect: Verdict | None = None) -> bytes:
    """One test case for each row of ``index.json``: green, red or in error just where ``triage run`` exits so.

    A conclusive verdict passes, whatever it says; INCONCLUSIVE fails, INFRA and INCOMPLETE are errors. With ``expect``
    every other verdict fails, unless the run did not finish. The verdict itself is a property of the case.

    >>> row = {"case": "e5", "family": "token_count", "verdict": "REPRODUCED", "cause": "a space", "duration_s": 3.0,
    ...        "report": "e5/report.html", "next_command": "", "node": None, "versions": {}, "started": None}
    >>> b'tests="1" failures="1"' in render_junit([row], expect=Verdict.NOT_REPRODUCED)
    True
    """
    suite = ET.Element("testsuite", name="triage", tests=str(len(rows)))
    kinds = [_add_case(suite, row, expect) for row in rows]
    suite.set("failures", str(kinds.count("failure")))
    suite.set("errors", str(kinds.count("error")))
    suite.set("skipped", "0")
    suite.set("time", f"{sum(row['duration_s'] or 0 for row in rows):.3f}")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _add_case(suite: ET.Element, row: Mapping[str, Any], expect: Verdict | None) -> str | None:
    time = f"{row['duration_s'] or 0:.3f}"
    case = ET.SubElement(suite, "testcase", classname=_clean(row["family"]), name=_clean(row["case"]), time=time)
    properties = ET.SubElement(case, "properties")
    told = {"verdict": row["verdict"], "node": row["node"], "vllm": row["versions"].get("vllm")}
    for name, value in told.items():
        if value:
            ET.SubElement(properties, "property", name=name, value=_clean(value))
    kind = _choose_kind(Verdict(row["verdict"]), expect)
    text = f"{row['cause']}\nNext: {row['next_command']}\nReport: {row['report']}"
    if kind is None:
        ET.SubElement(case, "system-out").text = _clean(text)
    else:
        wanted = f" where {expect} was expected" if expect else ""
        message = f"{row['verdict']}{wanted}: {row['cause']}"
        ET.SubElement(case, kind, type=row["verdict"], message=_clean(message)).text = _clean(text)
    return kind


def _choose_kind(verdict: Verdict, expect: Verdict | None) -> str | None:
    if verdict is expect:
        return None
    if verdict in {Verdict.INFRA, Verdict.INCOMPLETE}:
        return "error"
    return "failure" if expect is not None or not verdict.conclusive else None


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold, not even escaped."""
    return "".join(
        c
        for c in clean_text(str(text))
        if c in "\n\t" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )
