"""What runs show of a fix, and what they do not."""

import pytest

from tests.verify.simulate import FAILURE, OTHER, make_attempts, make_runs
from triage.result import Family
from triage.verify import HANG, ArmName, Design, End, FixVerdict, Outcome, Rule, Seen, find_bad_nodes, judge_attempts
from triage.verify._attempt import classify_attempt, count_attempts

BEFORE, AFTER = ArmName.BEFORE, ArmName.AFTER
NETWORK = Seen(signature="v1:aaaaaaaaaaaa", family=Family.NETWORK, infra=True, line="Connection reset by peer")


def judge(attempts, runs=20, **options):
    return judge_attempts(attempts, Design(rule=Rule.FIXED, runs=runs), **options)


@pytest.mark.parametrize(
    ("before", "after", "verdict", "needed"),
    [
        ((5, 5), (0, 5), FixVerdict.VERIFIED, 0),
        ((3, 20), (0, 20), FixVerdict.INSUFFICIENT, 28),
        ((3, 20), (0, 48), FixVerdict.VERIFIED, 0),
        ((0, 20), (0, 20), FixVerdict.NEVER_FAILED, None),
        ((10, 20), (9, 20), FixVerdict.NOT_VERIFIED, None),
        ((20, 20), (2, 20), FixVerdict.VERIFIED, 0),
        ((1, 1), (0, 1), FixVerdict.INSUFFICIENT, 18),
    ],
)
def test_the_verdict_follows_from_the_counts(before, after, verdict, needed):
    state = judge(make_runs(before, after), runs=min(before[1], after[1]))
    assert (state.verdict, state.runs_needed) == (verdict, needed)


def test_as_many_more_runs_as_are_needed_do_decide():
    state = judge(make_runs((4, 12), (0, 12)), runs=12)
    more = judge(make_runs((4, 12), (0, 12 + state.runs_needed)), runs=12)
    assert (state.verdict, more.verdict) == (FixVerdict.INSUFFICIENT, FixVerdict.VERIFIED)


@pytest.mark.parametrize("end", [End.TIMED_OUT, End.SKIPPED, End.LOST])
def test_a_run_that_tells_nothing_is_never_a_pass(end):
    base = make_attempts(BEFORE, [FAILURE] * 10)
    state = judge([*base, *make_attempts(AFTER, [end] * 10)], runs=10)
    assert state.verdict is not FixVerdict.VERIFIED
    assert state.after.passes == state.after.told == 0


def test_a_fix_that_makes_the_test_skip_leaves_the_question_open():
    base = make_attempts(BEFORE, [FAILURE] * 10)
    assert judge([*base, *make_attempts(AFTER, [End.SKIPPED] * 10)], runs=10).verdict is FixVerdict.INSUFFICIENT


def test_a_fix_that_turns_a_failure_into_a_hang_is_not_verified():
    after = make_attempts(AFTER, [End.PASSED] * 19 + [End.TIMED_OUT])
    state = judge([*make_attempts(BEFORE, [FAILURE] * 20), *after])
    assert (state.verdict, state.new_timeouts) == (FixVerdict.NOT_VERIFIED, 1)


def test_a_new_failure_speaks_against_the_fix_and_one_that_the_base_shows_does_not():
    base = [FAILURE] * 19
    after = make_attempts(AFTER, [OTHER] + [End.PASSED] * 19)
    assert judge([*make_attempts(BEFORE, [*base, FAILURE]), *after]).new == (OTHER,)
    assert judge([*make_attempts(BEFORE, [*base, FAILURE]), *after]).verdict is FixVerdict.NOT_VERIFIED
    assert judge([*make_attempts(BEFORE, [*base, OTHER]), *after]).verdict is FixVerdict.VERIFIED


def test_a_failure_of_the_network_is_nobodys_code():
    after = make_attempts(AFTER, [NETWORK] + [End.PASSED] * 19)
    state = judge([*make_attempts(BEFORE, [FAILURE] * 20), *after])
    assert (state.verdict, state.after.other_failures) == (FixVerdict.VERIFIED, 1)
    assert judge(make_attempts(BEFORE, [NETWORK] * 20)).target is None


def test_the_base_must_fail_with_the_signature_that_was_asked_for():
    runs = make_runs((20, 20), (0, 20))
    assert judge(runs, target=FAILURE.signature).verdict is FixVerdict.VERIFIED
    assert judge(runs, target=OTHER.signature).verdict is FixVerdict.NEVER_FAILED


def test_a_base_that_only_times_out_has_not_been_seen_to_fail():
    runs = [*make_attempts(BEFORE, [End.TIMED_OUT] * 5), *make_attempts(AFTER, [End.PASSED] * 5)]
    assert judge(runs, runs=5).verdict is FixVerdict.INSUFFICIENT


def test_a_hang_is_the_failure_where_that_is_what_was_asked_for():
    runs = [*make_attempts(BEFORE, [End.TIMED_OUT] * 5), *make_attempts(AFTER, [End.PASSED] * 5)]
    assert judge(runs, runs=5, target=HANG).verdict is FixVerdict.VERIFIED
    assert judge(runs, runs=5, family=Family.GPU_HANG).target == HANG


def test_half_a_plan_verifies_nothing():
    runs = [*make_attempts(BEFORE, [FAILURE] * 10), *make_attempts(AFTER, [End.PASSED] * 10)]
    state = judge(runs, runs=11)
    assert (state.verdict, state.complete) == (FixVerdict.INSUFFICIENT, False)


def test_a_failure_that_does_not_come_back_without_the_fix_takes_the_verdict_away():
    runs = make_runs((5, 5), (0, 5))
    gone = make_attempts(ArmName.REVERTED, [End.PASSED] * 5)
    back = make_attempts(ArmName.REVERTED, [FAILURE])
    assert judge([*runs, *gone], runs=5).verdict is FixVerdict.INSUFFICIENT
    assert judge([*runs, *back], runs=5).verdict is FixVerdict.VERIFIED


def test_the_sequential_test_stops_early_and_goes_by_its_own_bound():
    design = Design(rule=Rule.SPRT, runs=5, most=100)
    assert judge_attempts(make_runs((5, 5), (0, 5)), design).verdict is FixVerdict.VERIFIED
    assert judge_attempts(make_runs((3, 5), (3, 5)), design).verdict is FixVerdict.NOT_VERIFIED
    undecided = judge_attempts(make_runs((1, 5), (0, 5)), design)
    assert (undecided.verdict, undecided.complete) == (FixVerdict.INSUFFICIENT, False)


# Nodes


def on_nodes(**nodes):
    """Runs on several nodes: each (before, after) as (failures, runs)."""
    return [attempt for node, (before, after) in nodes.items() for attempt in make_runs(before, after, node=node)]


def test_a_bad_node_is_told_from_a_bad_fix():
    runs = on_nodes(good=((3, 10), (0, 10)), fine=((4, 10), (0, 10)), bad=((10, 10), (10, 10)))
    state = judge(runs, runs=30)
    assert [node.node for node in state.bad_nodes] == ["bad"]
    assert state.node_decides
    assert state.verdict is FixVerdict.INSUFFICIENT


def test_a_bad_fix_fails_on_every_node_alike():
    runs = on_nodes(a=((5, 10), (5, 10)), b=((4, 10), (6, 10)), c=((6, 10), (4, 10)))
    state = judge(runs, runs=30)
    assert (state.verdict, state.bad_nodes) == (FixVerdict.NOT_VERIFIED, ())


def test_a_node_that_loses_its_runs_is_a_bad_one():
    good = on_nodes(a=((5, 10), (0, 10)), b=((5, 10), (0, 10)))
    lost = make_attempts(AFTER, [End.LOST] * 8, node="c")
    assert [node.node for node in find_bad_nodes([*good, *lost], FAILURE.signature)] == ["c"]


def test_a_fix_is_not_verified_by_having_run_on_the_better_node():
    runs = on_nodes(bad=((19, 20), (4, 4)), good=((0, 2), (0, 30)))
    state = judge(runs, runs=22)
    assert state.p_value > 0.05
    assert state.verdict is not FixVerdict.VERIFIED


def test_only_a_pass_is_a_pass():
    ends = [FAILURE, OTHER, End.PASSED, End.TIMED_OUT, End.SKIPPED, End.LOST]
    runs = make_attempts(BEFORE, ends)
    assert [classify_attempt(run, FAILURE.signature) for run in runs] == list(Outcome)
    counts = count_attempts(runs, BEFORE, FAILURE.signature)
    assert (counts.runs, counts.told, counts.rate) == (6, 2, 0.5)
