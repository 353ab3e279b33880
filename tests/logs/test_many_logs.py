"""Many logs: runs, clusters, nodes against code, retries, tables and pictures."""

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scipy.stats import fisher_exact

from triage.cases import read_cases
from triage.errors import LogError
from triage.logs import (
    Binding,
    JobRun,
    LogReport,
    Outcome,
    add_builds,
    classify_logs,
    cluster_failures,
    count_causes,
    explain_families,
    explain_nodes,
    explain_retries,
    judge_bindings,
    pair_retries,
    plot_families,
    plot_nodes,
    read_builds,
    read_log,
    read_logs,
    read_text,
    tabulate_clusters,
    tabulate_failures,
    tabulate_nodes,
    tabulate_retries,
    write_sample,
)
from triage.logs._nodes import compute_p_value
from triage.result import Family, Verdict

DAY = datetime(2026, 4, 1, tzinfo=UTC)
HIP = "RuntimeError: HIP error: invalid argument"
START = "============================= test session starts =============================="


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> list[LogReport]:
    """The reports of the sample week."""
    return list(read_logs(write_sample(tmp_path_factory.mktemp("week")), cases=read_cases()))


def fail(root: str, **fields) -> JobRun:
    summary = f"=== short test summary info ===\nFAILED a.py::t - {root}\n=== 1 failed in 1s ===\n"
    (run,) = read_text(summary).runs
    return replace(run, **({"job": "V1 Core", "node": "node-a"} | fields))


def pass_(**fields) -> JobRun:
    return JobRun(log="", outcome=Outcome.PASSED, **({"job": "V1 Core", "node": "node-a"} | fields))


def kinds(*roots: str) -> list[int]:
    return [len(cluster.occurrences) for cluster in cluster_failures([fail(root) for root in roots])]


def judge(runs, **options):
    (judgement,) = judge_bindings(cluster_failures(runs), runs, **options)
    return judgement


# --- runs


def test_a_run_knows_where_and_when_it_was_and_of_what(week):
    run = week[4].runs[0]
    assert (run.job, run.outcome) == ("AMD: Language Models Test (Extended Pooling) (mi300_1)", Outcome.FAILED)
    assert (run.pool, run.commit, run.began) == ("mi300_1", "1d7e90b3c5f8", datetime(2026, 5, 12, 6, tzinfo=UTC))
    assert run.ended > run.began


def test_the_name_of_a_node_stays_where_it_is(week):
    nodes = {run.node for report in week for run in report.runs}
    assert len(nodes) == 3
    assert "sample-a" in Path(week[4].log).parent.joinpath(Path(week[5].log).name).read_text()
    assert not any("sample" in node for node in nodes)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (f"{START}\ncollected 1 item\na.py::t PASSED\n==== 1 passed in 1.00s ====\n", Outcome.PASSED),
        ("building\nExited with status 0\n", Outcome.PASSED),
        ("building\n", Outcome.UNKNOWN),
        (f"{START}\ncollected 2 items\na.py::t PASSED\n", Outcome.UNKNOWN),
        ("building\nExited with status 7\n", Outcome.FAILED),
    ],
)
def test_a_run_has_passed_only_where_its_log_says_so(text, outcome):
    assert [run.outcome for run in read_text(text).runs] == [outcome]


def test_both_stamps_of_the_agent_and_the_copied_ones_are_times():
    when = datetime(2026, 4, 15, 18, 44, 57, tzinfo=UTC)
    stamps = ("[2026-04-15T18:44:57Z] ", f"\x1b_bk;t={int(when.timestamp() * 1000)}\x07", "2026-04-15 18:44:57 UTC | ")
    for stamp in stamps:
        (run,) = read_text(f"{stamp}{HIP}\n").runs
        assert (run.began, run.failures[0].root.text) == (when, HIP)


def test_junit_says_where_and_when_its_suite_ran(tmp_path):
    path = tmp_path / "report.xml"
    path.write_text(
        '<testsuites><testsuite name="pytest" hostname="rack3" timestamp="2026-04-15T18:44:57+00:00">'
        '<testcase classname="a" name="t"/></testsuite></testsuites>'
    )
    (run,) = read_log(str(path)).runs
    assert (run.job, run.outcome, run.began.year) == ("pytest", Outcome.PASSED, 2026)
    assert run.node.startswith("node-")


# --- clusters


def test_failures_that_differ_in_numbers_paths_and_addresses_are_one_kind():
    a = "Memory access fault by GPU node-{} (Agent handle: 0x{:x}) on address 0x{:x}. Reason: Unknown."
    assert kinds(*(a.format(n, n * 7919, n * 104729) for n in range(1, 9))) == [8]


def test_a_line_that_is_worded_a_little_otherwise_is_the_same_kind():
    whole = "ValueError: The decoder prompt is longer than the maximum model length, shorten it or raise the length."
    assert kinds(whole, whole.replace("shorten", "cut"), whole) == [3]


def test_a_line_that_pytest_cut_off_joins_the_one_that_it_begins():
    whole = "IndexError: the block table of request cmpl-7 has no entry for the first of its blocks"
    assert kinds(whole, f"{whole[:60]}...") == [2]
    others = (f"{whole[:60]} one of them", f"{whole[:60]} whatever it may be that was asked for")
    assert kinds(*others, f"{whole[:60]}...") == [1, 1, 1]  # it begins two


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("ModuleNotFoundError: No module named 'schemathesis'", "ModuleNotFoundError: No module named 'schematheses'"),
        ("RuntimeError: HIP error: invalid argument", "RuntimeError: HIP error: invalid arguments"),
        ("exit: HSA_STATUS_ERROR_INVALID_ISA: x", "exit: HSA_STATUS_ERROR_INVALID_ISB: x"),
        ("AttributeError: 'A' object has no attribute 'size'", "AttributeError: 'A' object has no attribute 'sizes'"),
        ("TypeError: the answer is not what it should be", "ValueError: the answer is not what it should be"),
    ],
)
def test_lines_that_name_other_things_are_two_kinds_however_alike_they_are(a, b):
    assert kinds(a, b) == [1, 1]


def test_clusters_do_not_depend_on_the_order_of_the_logs(week):
    runs = [run for report in week for run in report.runs]
    wanted = [(c.signature, len(c.occurrences), c.first_seen) for c in cluster_failures(runs)]
    for seed in range(5):
        random.Random(seed).shuffle(runs)
        assert [(c.signature, len(c.occurrences), c.first_seen) for c in cluster_failures(runs)] == wanted


def test_a_failure_without_a_date_may_have_been_the_first():
    dated = [fail(HIP, began=DAY), fail(HIP, began=DAY - timedelta(days=2))]
    assert cluster_failures(dated)[0].first_seen == DAY - timedelta(days=2)
    assert cluster_failures([*dated, fail(HIP, began=None)])[0].first_seen is None


# --- nodes


def test_a_failure_of_one_node_is_bound_to_it():
    runs = [fail(HIP, node="node-x") for _ in range(4)]
    runs += [pass_(node=f"node-{n}") for n in "abcd" for _ in range(3)]
    judgement = judge(runs)
    assert (judgement.binding, judgement.place) == (Binding.NODE, "node-x")
    assert (judgement.failed, judgement.ran, judgement.other_failed, judgement.other_ran) == (4, 4, 0, 12)
    fisher = fisher_exact([[4, 0], [0, 12]], alternative="greater").pvalue
    assert judgement.p_value == pytest.approx(5 * fisher)  # five nodes were looked at


def test_a_failure_of_one_job_on_every_node_is_bound_to_the_code():
    runs = [fail(HIP, node=f"node-{n}") for n in "abcd"]
    runs += [pass_(node=f"node-{n}", job=f"Kernels {k}") for n in "abcd" for k in range(4)]
    judgement = judge(runs)
    assert (judgement.binding, judgement.place) == (Binding.CODE, "V1 Core")


def test_a_job_that_runs_on_one_node_alone_blames_neither():
    """The node's failures are the job's: nothing tells them apart."""
    runs = [fail(HIP, node="node-x") for _ in range(9)]
    runs += [pass_(node=node, job="Other") for node in ("node-a", "node-x") for _ in range(9)]
    judgement = judge(runs)
    assert judgement.binding is Binding.UNDECIDED
    assert "nothing to compare with" in judgement.because


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([fail(HIP, node="node-x"), pass_(), pass_()], "too few runs"),
        ([fail(HIP, node=None), pass_(), pass_()], "no run of it names its node"),
        ([fail(HIP, node=n) for n in "abab"] + [pass_(node=n) for n in "abab"], "no node stands out beyond chance"),
    ],
)
def test_what_the_runs_do_not_tell_from_chance_stays_undecided(runs, said):
    judgement = judge(runs)
    assert judgement.binding is Binding.UNDECIDED
    assert said in judgement.because


def test_one_of_many_nodes_is_not_blamed_for_what_would_befall_one_of_them_anyway():
    """1 of 30 runs failed, on a node of its own: a chance of 1/30 for that node, but there are 30 of them."""
    runs = [fail(HIP, node="node-x"), *(pass_(node=f"node-{n}") for n in range(29))]
    judgement = judge(runs)
    assert judgement.binding is Binding.UNDECIDED
    assert "too few runs" in judgement.because


def test_a_run_that_failed_of_something_else_or_ended_unknown_tells_nothing():
    bound = [fail(HIP, node="node-x") for _ in range(4)]
    others = [pass_(node=f"node-{n}") for n in "abc" for _ in range(3)]
    silent = [replace(run, outcome=Outcome.UNKNOWN) for run in others]
    assert judge([*bound, *others]).binding is Binding.NODE
    assert judge([*bound, *silent]).binding is Binding.UNDECIDED
    failed = [fail("OSError: [Errno 98] Address already in use", node=run.node) for run in others]
    first, _ = judge_bindings(cluster_failures([*bound, *failed])[::-1], [*bound, *failed])
    assert first.binding is Binding.UNDECIDED


def test_random_failures_are_seldom_laid_on_anything():
    """At a level of 5 % for the nodes and for the jobs, 10 % may be; exact tests stay below."""
    rng = random.Random(3)
    blamed = 0
    for _ in range(200):
        places = [(f"node-{rng.randrange(5)}", f"job {rng.randrange(4)}") for _ in range(60)]
        runs = [fail_fast(n, j) if rng.random() < 0.2 else pass_(node=n, job=j) for n, j in places]
        blamed += judge(runs).binding is not Binding.UNDECIDED
    assert blamed <= 20


FAST = fail(HIP)


def fail_fast(node: str, job: str) -> JobRun:
    return replace(FAST, node=node, job=job)


def test_the_exact_test_over_one_stratum_is_fishers_and_over_two_is_their_convolution():
    for table in ((10, 4, 3, 2), (20, 5, 7, 4), (8, 8, 3, 3)):
        total, failed, here, failed_here = table
        rest = [failed - failed_here, total - here - (failed - failed_here)]
        fisher = fisher_exact([[failed_here, here - failed_here], rest], alternative="greater").pvalue
        assert compute_p_value([table])[0] == pytest.approx(fisher)
    # Two strata of two runs, one failed in each, both here: 1/2 * 1/2.
    assert compute_p_value([(2, 1, 1, 1), (2, 1, 1, 1)]) == pytest.approx((0.25, 0.25))


# --- retries


def test_a_failed_run_is_paired_with_the_next_of_its_job_and_commit():
    later = DAY + timedelta(hours=1)
    runs = [fail(HIP, commit="c1", began=DAY), pass_(commit="c1", began=later), pass_(commit="c2", began=later)]
    runs += [fail(HIP, commit="c1", began=DAY, job="Other"), fail(HIP, commit="c3", began=DAY)]
    ledger = pair_retries(runs)
    assert [(r.family, r.again.outcome) for r in ledger.retries] == [(Family.GPU_FAULT, Outcome.PASSED)]
    assert (ledger.not_retried, ledger.unclear) == (2, 0)


def test_what_is_not_known_is_not_paired():
    unknown = replace(pass_(commit="c1", began=DAY + timedelta(hours=1)), outcome=Outcome.UNKNOWN)
    runs = [fail(HIP, commit="c1", began=DAY), unknown, fail(HIP, commit=None, began=DAY), fail(HIP, commit="c2")]
    ledger = pair_retries([replace(run, began=None) if run.commit == "c2" else run for run in runs])
    assert (ledger.retries, ledger.unclear) == ((), 3)
    assert "3 cannot be paired" in explain_retries(ledger)


def test_the_causes_have_exact_intervals():
    times = [DAY + timedelta(hours=n) for n in range(2)]
    runs = []
    for n in range(10):
        second = pass_ if n < 7 else lambda **fields: fail(HIP, **fields)
        runs += [fail(HIP, commit=f"c{n}", began=times[0]), second(commit=f"c{n}", began=times[1])]
    (row,) = count_causes(pair_retries(runs).retries)
    assert (row.retries, row.passed, row.rate, row.share) == (10, 7, 0.7, 1.0)
    # Clopper and Pearson 1934: 7 of 10 at 95 %.
    assert (round(row.rate_low, 3), round(row.rate_high, 3)) == (0.348, 0.933)


# --- Buildkite's list of builds


def builds(**job) -> dict:
    fields = {"id": "0" * 8 + "-1111-2222-3333-" + "4" * 12, "type": "script", "name": "mi300_1: V1 Core"}
    fields |= {"state": "passed", "started_at": "2026-04-01T00:00:00Z", "agent": {"hostname": "rack7", "name": "r-1"}}
    return {"number": 77, "commit": "abc123def4567", "jobs": [fields | job, {"id": "w", "type": "waiter"}]}


def test_a_list_of_builds_says_where_a_log_was_from_and_what_else_ran(tmp_path):
    (tmp_path / "builds.json").write_text(json.dumps([builds(), builds(id="f" * 8 + "-1111-2222-3333-" + "4" * 12)]))
    log = tmp_path / f"{builds()['jobs'][0]['id']}.log"
    log.write_text(f"{HIP}\nexited with status 1\n")
    first, rest = add_builds([read_log(str(log))], read_builds(tmp_path / "builds.json"))
    (run,) = first.runs
    assert (run.outcome, run.job, run.pool, run.build) == (Outcome.FAILED, "mi300_1: V1 Core", "mi300_1", "77")
    assert (run.node, run.commit) == (rest.runs[0].node, "abc123def456")
    assert "rack7" not in run.node
    assert [run.outcome for run in rest.runs] == [Outcome.PASSED]


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "is not JSON"), ('[{"number": "x"}]', "0.number"), ("[" * 100_000, "is not JSON"), ("7", "is no list")],
)
def test_what_is_no_list_of_builds_is_one_sentence(tmp_path, text, said):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(LogError, match=r"b\.json") as error:
        read_builds(tmp_path / "b.json")
    assert said in str(error.value)


# --- the sample week, tables and pictures


def test_the_sample_week_is_told_apart(week):
    runs = [run for report in week for run in report.runs]
    clusters = cluster_failures(runs)
    found = {j.cluster.family: j for j in judge_bindings(clusters, runs)}
    assert {family: j.binding for family, j in found.items()} == {
        Family.TOKEN_COUNT: Binding.CODE,
        Family.CHECKPOINT_KEYS: Binding.CODE,
        Family.GPU_HANG: Binding.NODE,
    }
    rows = count_causes(pair_retries(runs).retries)
    assert {row.family: (row.passed, row.retries) for row in rows} == {
        Family.GPU_HANG: (4, 4),
        Family.TOKEN_COUNT: (0, 1),
    }


def test_the_tables_agree_with_the_runs(week):
    runs = [run for report in week for run in report.runs]
    judgements = judge_bindings(cluster_failures(runs), runs)
    failures, clusters, nodes = tabulate_failures(runs), tabulate_clusters(judgements), tabulate_nodes(runs)
    assert Counter(failures["family"]) == dict(zip(clusters["family"], clusters["failures"], strict=True))
    assert nodes["runs"].sum() == len(runs)
    assert nodes[list(nodes.columns[4:])].to_numpy().sum() == len(failures)
    table = tabulate_retries(count_causes(pair_retries(runs).retries))
    assert list(table["95 % interval"]) == ["40% to 100%", "0% to 98%"]


def test_the_pictures_show_every_dated_failure_and_every_node(week):
    runs = [run for report in week for run in report.runs]
    failures = sum(len(run.failures) for run in runs)
    (bars,) = plot_families(runs).axes
    assert sum(patch.get_height() for patch in bars.patches) == failures
    (grid,) = plot_nodes(runs).axes
    assert sum(int(text.get_text()) for text in grid.texts if text.get_text().isdigit()) == failures
    assert len(grid.get_yticklabels()) == 3
    assert str(failures) in explain_families(runs)
    assert explain_nodes(runs).startswith("3 nodes")


def test_pictures_and_tables_of_nothing_say_so():
    for runs in ([], [pass_(node=None)]):
        assert plot_families(runs).axes[0].texts
        assert plot_nodes(runs).axes[0].texts
        assert tabulate_failures(runs).empty
    undated = [fail(HIP, began=None)]
    assert "1 without a date are not drawn" in explain_families(undated)
    assert plot_families(undated).axes[0].texts


# --- the verdict


def conclude(runs, **fields):
    reports = [LogReport(log="", runs=tuple(runs), bytes=1, lines=1, seconds=0.0)]
    judgements = judge_bindings(cluster_failures(runs), runs)
    return classify_logs(case="ci-log", reports=reports, judgements=judgements, ledger=pair_retries(runs), **fields)


HANG = "HW Exception by GPU node-2 (Agent handle: 0x1) reason :GPU Hang"
PAIR = [fail(HIP, commit="c", began=DAY), pass_(commit="c", began=DAY + timedelta(hours=1))]


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        ([fail(HIP)], Verdict.MECHANISM),
        ([fail(HIP), fail(HANG), fail(HANG)], Verdict.MECHANISM),
        ([fail(HANG), pass_()], Verdict.INFRA),
        (PAIR, Verdict.FLAKY),
        (PAIR[:1], Verdict.MECHANISM),
        ([fail("something odd")], Verdict.INCONCLUSIVE),
        ([pass_()], Verdict.NOT_REPRODUCED),
        ([pass_(), replace(pass_(), outcome=Outcome.UNKNOWN)], Verdict.INCONCLUSIVE),
        ([], Verdict.INCONCLUSIVE),
    ],
)
def test_the_verdict_rests_on_what_the_logs_say(runs, verdict):
    assert conclude(runs).verdict is verdict
