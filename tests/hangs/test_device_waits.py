"""Waits for a GPU: found by name, compared between samples, and judged by what the GPU did meanwhile."""

from dataclasses import replace

import pytest

from tests.hangs import device
from tests.hangs.ablation import list_ablations
from tests.hangs.device import make_evidence
from triage.hangs import Ending, Evidence, Frame, HangClass, diagnose, find_device_wait

STACKS = {"hip": device.HIP, "cuda": device.CUDA, "item": device.ITEM, "python": device.PYTHON_ONLY}


def classify(evidence: Evidence) -> HangClass:
    return diagnose(evidence, ending=Ending.STALLED, returncode=None, progressing=False).hang_class


@pytest.mark.parametrize("frames", STACKS.values(), ids=STACKS)
def test_a_wait_for_a_busy_gpu_and_one_for_an_idle_gpu_are_told_apart(frames: tuple[Frame, ...]) -> None:
    assert classify(make_evidence(frames)) is HangClass.DEVICE_BUSY
    assert classify(make_evidence(frames, utilisation=(0.0,))) is HangClass.DEVICE_IDLE_WAIT


def test_the_wait_and_the_figures_are_quoted() -> None:
    because = diagnose(make_evidence(), ending=Ending.STALLED, returncode=None, progressing=False).because
    assert because[0].startswith("VLLM::EngineCor (pid 100, thread 100) waits for the GPU in rocr::core::Interrupt")
    assert "synchronize (torch/cuda/__init__.py:1083)" in because[0]
    assert "100 % and then 100 % (amd-smi)" in because[-1]


@pytest.mark.parametrize(
    ("first", "second"),
    [((100.0,), (0.0,)), ((50.0,), (50.0,)), ((None,), (None,)), ((100.0, None), (100.0, None)), ((), ())],
    ids=["changed", "in between", "not told", "one not told", "no GPU told"],
)
def test_figures_that_do_not_decide_leave_it_unknown(first: tuple[float | None, ...], second: object) -> None:
    assert classify(make_evidence(utilisation=first, second_utilisation=second)) is HangClass.UNKNOWN


def test_a_neighbours_gpu_does_not_decide() -> None:
    assert classify(make_evidence(utilisation=(100.0, 0.0))) is HangClass.DEVICE_BUSY
    assert classify(make_evidence(utilisation=(100.0, 0.0), others=(4711,))) is HangClass.UNKNOWN


def test_a_wait_that_has_moved_on_is_no_hang() -> None:
    evidence = make_evidence()
    first, second = evidence.samples
    process = second.processes[0]
    moved = replace(process.threads[0], frames=(*device.HIP[:-1], Frame(function="<module>", file="serve.py", line=9)))
    second = replace(second, processes=(replace(process, threads=(moved, *process.threads[1:])),))
    assert classify(replace(evidence, samples=(first, second))) is HangClass.UNKNOWN


def test_what_happens_below_the_wait_does_not_count_as_a_move() -> None:
    first, second = make_evidence(device.CUDA).samples[0], make_evidence(device.CUDA[2:]).samples[1]
    assert find_device_wait(first) == find_device_wait(second) != ()


@pytest.mark.parametrize("sides", [(slice(4, None), slice(None)), (slice(None), slice(4, None))])
def test_a_sample_that_came_too_late_for_native_calls_still_counts(sides: tuple[slice, slice]) -> None:
    first, second = (make_evidence(device.CUDA[side]).samples[i] for i, side in enumerate(sides))
    assert classify(replace(make_evidence(), samples=(first, second))) is HangClass.DEVICE_BUSY


def test_the_runtimes_own_thread_waits_all_its_life_and_does_not_count() -> None:
    assert find_device_wait(make_evidence((device.PROGRAM,)).samples[0]) == ()


@pytest.mark.parametrize("state", ["T", "Z", "?"])
def test_a_thread_that_does_not_live_waits_for_nothing(state: str) -> None:
    assert find_device_wait(make_evidence(state=state).samples[0]) == ()


@pytest.mark.parametrize("utilisation", [100.0, 0.0])
@pytest.mark.parametrize("state", ["R", "S"])
@pytest.mark.parametrize("main", [None, device.JOIN, device.SHUTDOWN], ids=["itself", "joins", "shuts down"])
@pytest.mark.parametrize("frames", STACKS.values(), ids=STACKS)
def test_taking_evidence_away_never_leads_to_another_class(
    frames: tuple[Frame, ...], main: tuple[Frame, ...] | None, state: str, utilisation: float
) -> None:
    evidence = make_evidence(frames, main=main, state=state, utilisation=(utilisation,))
    whole = classify(evidence)
    assert whole.is_hang
    judged = {name: classify(left) for name, left in list_ablations(evidence)}
    assert {name: found for name, found in judged.items() if found not in {whole, HangClass.UNKNOWN}} == {}
    assert judged["no utilisation in (0,)"] is judged["no sample 1"] is HangClass.UNKNOWN
