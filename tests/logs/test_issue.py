"""The text of an issue: vLLM's template filled, nothing of a machine or a person in it, no line that breaks out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from triage.cases import read_cases
from triage.logs import JobRun, Outcome, cluster_failures, judge_bindings, pair_retries, read_text, render_issue

DAY = datetime(2026, 4, 1, tzinfo=UTC)
# The labels of vLLM's .github/ISSUE_TEMPLATE/450-ci-failure.yml, in their order.
LABELS = [
    "### Name of failing test",
    "### Basic information",
    "### 🧪 Describe the failing test",
    "### 📝 History of failing test",
    "### CC List.",
]


def read(*lines: str, **fields) -> JobRun:
    (run,) = read_text("\n".join([*lines, ""]), cases=read_cases()).runs
    return replace(run, **({"job": "mi300_1: V1 Core", "commit": "abc123", "began": DAY} | fields))


def fail(root: str, *before: str, **fields) -> JobRun:
    summary = ("=== short test summary info ===", f"FAILED a/x.py::t[1] - {root}", "=== 1 failed in 1s ===")
    return read(*before, *summary, **fields)


def render(*runs: JobRun):
    (judgement,) = judge_bindings(cluster_failures(runs), runs)
    return render_issue(judgement, runs=runs, ledger=pair_retries(runs))


def test_the_issue_has_the_fields_of_vllms_template_in_their_order():
    issue = render(fail("ValueError: x"))
    assert issue.title == "[CI Failure]: mi300_1: V1 Core"
    assert [line for line in issue.body.splitlines() if line.startswith("### ")] == LABELS
    for option in ("Flaky test", "Can reproduce locally", "Caused by external libraries (e.g. bug in `transformers`)"):
        assert f"- [ ] {option}" in issue.body


def test_it_names_the_test_the_lines_with_their_numbers_and_a_whole_command():
    body = render(fail("KeyError: 'a'", "noise", "noise")).body
    assert "`a/x.py::t[1]`" in body
    assert "4  FAILED a/x.py::t[1] - KeyError: 'a'" in body
    assert "```bash\ncd /vllm-workspace/tests && pytest -v -s 'a/x.py::t[1]'\n```" in body


def test_flaky_is_ticked_where_a_retry_passed_and_nowhere_else():
    again = JobRun(
        log="", job="mi300_1: V1 Core", commit="abc123", began=DAY + timedelta(hours=1), outcome=Outcome.PASSED
    )
    assert "- [x] Flaky test" in render(fail("ValueError: x"), again).body
    assert "- [ ] Flaky test" in render(fail("ValueError: x"), replace(again, outcome=Outcome.UNKNOWN)).body
    assert "Passed on 1 of 1 retries." in render(fail("ValueError: x"), again).body


def test_a_missing_package_is_ticked_as_an_external_cause_and_local_reproduction_never():
    body = render(fail("ModuleNotFoundError: No module named 'schemathesis'")).body
    assert "- [x] Caused by external libraries" in body
    assert "- [ ] Can reproduce locally" in body


def test_a_job_without_a_failed_test_says_how_it_ended():
    body = render(read("Exited with status -1 (agent lost)")).body
    assert "No test failed: `mi300_1: V1 Core` did" in body
    assert "nothing in the code to reproduce" in body


def test_nothing_of_a_machine_or_a_person_is_in_it(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "sesame-open-1234")
    secret = "hf_" + "a1B2" * 8
    lines = (
        "Environment: Kubernetes pod=ci-x7 node=rack9-04.corp namespace=ci",
        f"OSError: HF_TOKEN={secret} of /home/maria/vllm at 10.44.3.17:8000 on node=rack9-04.corp, sesame-open-1234",
    )
    issue = render(fail(lines[1], lines[0]))
    for word in (secret, "maria", "10.44.3.17", "rack9", "sesame"):
        assert word not in issue.to_markdown()
    assert "~/vllm at (address):8000" in issue.body


def test_a_version_is_no_address_and_the_local_host_may_stay():
    body = render(fail("RuntimeError: torch 2.11.0.1234 at 127.0.0.1:80 wants rocm 7.2.1 and 1.2.3.4.5")).body
    assert "2.11.0.1234 at 127.0.0.1:80 wants rocm 7.2.1 and 1.2.3.4.5" in body


@pytest.mark.parametrize("line", ["a ``` b", "``````", "<script>alert(1)</script> @everyone #1 ### CC List."])
def test_no_line_of_the_log_gets_out_of_its_block(line):
    body = render(fail(f"ValueError: {line}")).body
    fences = [text for text in body.splitlines() if text.startswith("```")]
    opening = next(text for text in fences if text.endswith("text"))
    assert line in body
    inside = body.partition(f"{opening}\n")[2].partition(f"\n{opening.removesuffix('text')}\n")[0]
    assert line in inside
    assert opening.removesuffix("text") not in inside


def test_many_tests_are_cut_to_a_list_that_can_be_read():
    run = fail("ValueError: x")
    runs = [replace(run, failures=(replace(run.failures[0], test=f"a.py::t{n}"),)) for n in range(25)]
    body = render(*runs).body
    assert body.count("`a.py::t") == 20
    assert "and 5 more" in body
