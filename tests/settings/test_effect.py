"""Which setting moves the cosines, how likely the test then fails, and that nobody is blamed below the noise."""

import math
import random
import statistics
from pathlib import Path

import pytest

from triage.errors import EngineError, InputError
from triage.settings import (
    PairTexts,
    ServedPairs,
    Setting,
    compare_effects,
    explain_effects,
    join_processes,
    measure_settings,
    plan_settings,
    plot_effects,
)
from triage.settings._statistics import measure_t_tail, predict_failure

REFERENCE = (0.609, 0.101)
TOLERANCE = 0.0023


def make_served(name: str, *rows: tuple[float, float]) -> ServedPairs:
    """One process; each row holds the deviations of both pairs."""
    cosines = tuple(tuple(truth + off for truth, off in zip(REFERENCE, row, strict=True)) for row in rows)
    return ServedPairs(
        name=name, args=(), env={}, pairs=("q0 d0", "q0 d1"), cosines=cosines, prompt_tokens=480, startup_s=40.0
    )


DEFAULTS = make_served("defaults", (1e-4, 0.0), (1e-4, 1e-6))
SERVED = [
    DEFAULTS,
    make_served("explicit", (9e-4, 0.0), (9e-4, 0.0)),
    make_served("float32", (5e-4, 0.0), (5e-4, 0.0)),
    make_served("one sequence", (3e-4, 0.0), (3e-4, 0.0)),
    make_served("prefix caching", (1e-4, 5e-7), (1e-4, 5e-7)),
]


def test_single_settings_are_ranked_by_their_share_and_the_noise_is_not_blamed() -> None:
    table = compare_effects(REFERENCE, SERVED, tolerance=TOLERANCE)
    ranked = table[table["share"].notna()]
    assert ranked["setting"].tolist() == ["float32", "one sequence", "prefix caching"]
    assert ranked["share"].tolist() == pytest.approx([16 / 20, 4 / 20, 0.0])
    assert ranked["blamed"].tolist() == [True, True, False]
    assert set(table.loc[table["share"].isna(), "setting"]) == {"defaults", "explicit"}
    text = explain_effects(table)
    assert "float32 4.0e-04 (80%)" in text
    assert "not blamed: prefix caching" in text


def test_the_spread_between_processes_is_noise_too() -> None:
    apart = join_processes([make_served("defaults", (1e-4, 0.0)), make_served("defaults", (8e-4, 0.0))])
    table = compare_effects(REFERENCE, [apart, *SERVED[2:]], tolerance=TOLERANCE)
    assert not table["blamed"].any()
    assert "none is blamed" in explain_effects(table)
    assert table.set_index("setting").loc["defaults", "processes"] == 2


def test_the_share_follows_the_measurement() -> None:
    smaller = [*SERVED[:2], make_served("float32", (2e-4, 0.0), (2e-4, 0.0)), *SERVED[3:]]
    table = compare_effects(REFERENCE, smaller, tolerance=TOLERANCE)
    assert table["setting"].iloc[0] == "one sequence"


def test_one_run_says_nothing_about_the_next() -> None:
    once = [make_served("defaults", (1e-4, 0.0)), make_served("float32", (5e-4, 0.0))]
    assert compare_effects(REFERENCE, once, tolerance=TOLERANCE)["fails"].isna().all()


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_a_prediction_from_few_runs_is_right_as_often_as_it_says(count: int) -> None:
    """Of what the next run does, a tenth lies where the prediction puts a tenth, however few the runs."""
    seeded = random.Random(3)
    surprises = 0
    for _ in range(4000):
        sample = [seeded.gauss(0.0, 1.0) for _ in range(count)]
        scale = statistics.stdev(sample) * math.sqrt(1 + 1 / count)
        tail = measure_t_tail((seeded.gauss(0.0, 1.0) - statistics.fmean(sample)) / scale, count - 1)
        surprises += tail < 0.1
    assert surprises / 4000 == pytest.approx(0.1, abs=0.015)


@pytest.mark.parametrize(("centre", "least", "most"), [(0.0, 0.0, 0.05), (2e-3, 0.05, 0.5), (4e-3, 0.9, 1.0)])
def test_the_nearer_to_the_tolerance_the_likelier_a_failure(centre: float, least: float, most: float) -> None:
    deviations = [centre + off for off in (-2e-4, 0.0, 2e-4, 1e-4, -1e-4)]
    for sign in (1, -1):
        fails = predict_failure([sign * d for d in deviations], tolerance=TOLERANCE, resolution=1e-7)
        assert fails is not None
        assert least <= fails <= most


def test_runs_that_agree_to_the_last_bit_are_inside_or_outside_for_sure() -> None:
    inside = predict_failure([1e-4] * 4, tolerance=TOLERANCE, resolution=2.0**-23)
    outside = predict_failure([3e-3] * 4, tolerance=TOLERANCE, resolution=2.0**-23)
    assert inside == pytest.approx(0.0, abs=1e-6)
    assert outside == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("t", "freedom", "tail"), [(2.776, 4, 0.05), (3.169, 10, 0.01), (4.303, 2, 0.05), (0.0, 7, 1.0)]
)
def test_students_t_agrees_with_the_tables(t: float, freedom: int, tail: float) -> None:
    assert measure_t_tail(t, freedom) == pytest.approx(tail, abs=2e-4)


def test_the_picture_shows_the_noise_and_who_is_blamed() -> None:
    figure = plot_effects(compare_effects(REFERENCE, SERVED, tolerance=TOLERANCE))
    [axes] = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("not blamed") == 1
    assert {"80%", "20%"} <= set(texts)
    assert not math.isnan(axes.get_xlim()[0])


def test_prefix_caching_is_tried_the_other_way_round_than_the_default() -> None:
    on, off = (
        {s.name for s in plan_settings(["--max-num-seqs", "1"], {}, default_prefix_caching=flag)}
        for flag in (True, False)
    )
    assert on - off == {"no prefix caching"}
    assert off - on == {"prefix caching"}


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    texts = PairTexts(queries=("a",), documents=("b",))
    for plan in ([], [Setting(name="defaults", processes=0)]):
        with pytest.raises(InputError, match="no setting to measure"):
            measure_settings(tmp_path, texts, plan)


@pytest.mark.parametrize("is_single", [True, False])
def test_a_single_setting_that_vllm_refuses_is_named_and_takes_nothing_with_it(
    is_single: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object, name: str, **__: object) -> ServedPairs:
        if name == "prefix caching":
            raise EngineError("vLLM ended: no cacheable group.", hint="x")
        return make_served(name, (0.0, 0.0))

    monkeypatch.setattr("triage.settings._effect.measure_pairs", measure)
    plan = [Setting(name="defaults", is_single=False), Setting(name="prefix caching", is_single=is_single)]
    texts = PairTexts(queries=("a",), documents=("b",))
    if is_single:
        measured = measure_settings(tmp_path, texts, plan)
        assert [pairs.name for pairs in measured.served] == ["defaults"]
        assert measured.refused == {"prefix caching": "vLLM ended: no cacheable group."}
    else:
        with pytest.raises(EngineError, match="no cacheable group"):
            measure_settings(tmp_path, texts, plan)
