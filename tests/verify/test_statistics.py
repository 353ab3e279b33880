"""Bounds, tests and designs against known figures, and against simulated verifications."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verify.simulate import simulate_verification
from triage.errors import InputError
from triage.verify import (
    Design,
    FixVerdict,
    Rule,
    calculate_power,
    compare_rates,
    compare_stratified,
    find_runs,
    rate_interval,
    rate_lower_bound,
    rate_upper_bound,
    tabulate_power,
)
from triage.verify._design import find_clean_runs, rejects_old_rate

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def test_the_clean_runs_that_reject_a_known_rate_are_those_of_the_textbook():
    assert [find_runs(rate) for rate in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)] == [5, 14, 29, 59, 149, 299]


def test_what_clean_runs_exclude_is_stated_exactly():
    bounds = [round(100 * rate_upper_bound(0, runs), 1) for runs in (10, 20, 35, 50, 100)]
    assert bounds == [25.9, 13.9, 8.2, 5.8, 3.0]


def test_the_old_rate_is_itself_uncertain_so_more_runs_are_planned():
    assert round(rate_lower_bound(3, 20), 3) == 0.062
    assert find_clean_runs(3, 20, confidence=0.95) == 48


def test_three_of_twenty_against_none_of_twenty_is_not_enough_and_none_of_fifty_is():
    assert round(compare_rates(3, 20, 0, 20), 3) == 0.115
    assert round(compare_rates(3, 20, 0, 50), 3) == 0.021


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 60))
def test_an_interval_holds_its_rate_and_grows_with_the_confidence(failures, runs):
    failures = min(failures, runs)
    low, high = rate_interval(failures, runs)
    wider = rate_interval(failures, runs, confidence=0.99)
    assert wider[0] <= low <= failures / runs <= high <= wider[1]


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 30))
def test_one_more_clean_run_never_weakens_a_rejection(failures, passes, recurred):
    before = (failures, failures + passes)
    needed = find_clean_runs(*before, confidence=0.95, after=(recurred, recurred))
    assert rejects_old_rate(before, (recurred, needed), confidence=0.95)
    assert rejects_old_rate(before, (recurred, needed + 1), confidence=0.95)
    if needed > max(recurred, 1):
        assert not rejects_old_rate(before, (recurred, needed - 1), confidence=0.95)


def test_a_stratified_test_of_one_stratum_is_fishers_and_ignores_strata_that_say_nothing():
    assert compare_stratified([((3, 20), (0, 50))]) == pytest.approx(compare_rates(3, 20, 0, 50))
    mute = [((5, 5), (7, 7)), ((0, 4), (0, 9))]
    assert compare_stratified([((3, 20), (0, 50)), *mute]) == pytest.approx(compare_rates(3, 20, 0, 50))


def test_a_stratified_test_is_not_fooled_by_a_node_that_had_most_of_the_base():
    # Each node has one rate for both arms; the bad one ran the base, the good one the fix.
    strata = [((16, 20), (4, 5)), ((1, 5), (4, 20))]
    pooled = compare_rates(17, 25, 8, 25)
    assert pooled < 0.05 < compare_stratified(strata)


DESIGNS = [Design(rule=Rule.FIXED, runs=30), Design(runs=10, most=80), Design(rule=Rule.SPRT, runs=10, most=60)]


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.rule.value)
def test_a_change_without_effect_is_seldom_taken_for_a_fix(design):
    assert max(calculate_power(design, rate, rate) for rate in RATES) < 0.05


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.rule.value)
def test_the_power_that_is_promised_is_the_power_that_runs_have(design):
    random = np.random.default_rng(7)
    runs = 300
    found = sum(simulate_verification(design, 0.3, 0.01, random).verdict is FixVerdict.VERIFIED for _ in range(runs))
    promised = calculate_power(design, 0.3, 0.01)
    spread = 4 * np.sqrt(promised * (1 - promised) / runs)
    assert abs(found / runs - promised) <= spread


def test_the_power_table_says_what_each_rate_needs():
    table = tabulate_power(Design(rule=Rule.FIXED, runs=20))
    assert list(table["clean runs that reject it"]) == [299, 149, 59, 29, 14, 5]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"runs": 0}, "--runs is 0"),
        ({"rule": Rule.FIXED, "runs": 1_000_000, "most": 1_000_000}, "--runs is 1000000"),
        ({"most": 0}, "--max-runs is 0"),
        ({"confidence": 95.0}, "--confidence is 95"),
        ({"runs": 20, "most": 10}, "fewer than the first stage"),
    ],
)
def test_a_design_that_is_none_is_refused(fields, words):
    with pytest.raises(InputError, match=words):
        Design(**fields)
