"""Reading vLLM's start-up log, on logs of real starts."""

from pathlib import Path

import pytest

from triage.encoder import Startup, compare_startups, explain_startups, plot_phases, read_startup_phases
from triage.engine.startup import Phase

DATA = Path(__file__).parents[1] / "data"


def read_log(setting: str) -> str:
    return (DATA / f"startup-vllm-0.32-qwen25vl-{setting}.log").read_text(encoding="utf-8")


def make_start(log_text: str, *, ready: bool = True, elapsed_s: float = 61.0) -> Startup:
    return Startup(
        name="a start",
        args=(),
        log=read_startup_phases(log_text),
        ready=ready,
        timed_out=not ready,
        elapsed_s=elapsed_s,
        time_limit_s=60.0,
    )


def test_every_phase_of_a_real_start_is_recognised_in_order() -> None:
    phases = [time.phase for time in read_startup_phases(read_log("implicit")).phases]
    assert phases == [Phase.CONFIG, Phase.WORKERS, Phase.WEIGHTS, Phase.PROFILE, Phase.KV_CACHE, Phase.READY]


@pytest.mark.parametrize(("setting", "expected"), [("implicit", ("video", 1, 3840)), ("explicit", ("image", 1, 2048))])
def test_the_profiled_modality_is_read_from_a_real_log(setting: str, expected: tuple[str, int, int]) -> None:
    profiled = read_startup_phases(read_log(setting)).profiled
    assert profiled is not None
    assert (profiled.modality, profiled.items, profiled.encoder_budget) == expected


def test_a_log_that_is_coloured_because_a_jupyter_kernel_asks_for_it_is_read_as_well() -> None:
    assert "\x1b[" in read_log("explicit-coloured")
    log = read_startup_phases(read_log("explicit-coloured"))
    assert [time.phase for time in log.phases] == [t.phase for t in read_startup_phases(read_log("explicit")).phases]
    assert log.profiled is not None
    assert (log.profiled.modality, log.profiled.encoder_budget) == ("image", 2048)
    assert "\x1b" not in log.profiled.line


def test_the_picture_of_a_start_without_a_log_is_empty_not_an_error() -> None:
    assert plot_phases([make_start("")]).axes[0].containers == []


def test_the_durations_of_the_phases_add_up_to_the_time_between_first_line_and_readiness() -> None:
    log = read_startup_phases(read_log("implicit"))
    assert sum(time.duration_s or 0.0 for time in log.phases) == log.phases[-1].start_s


def test_a_log_that_breaks_off_in_the_profile_ends_in_that_phase_without_a_duration() -> None:
    text = read_log("implicit")
    log = read_startup_phases(text[: text.index("Encoder cache will be initialized") + 150])
    assert log.last_phase is Phase.PROFILE
    assert log.phases[-1].duration_s is None
    assert not log.ready


def test_a_log_without_a_stamped_line_has_no_phase() -> None:
    log = read_startup_phases("Triton is installed, but doesn't include CPU backend.\n")
    assert (log.phases, log.profiled, log.last_phase) == ((), None, None)


def test_time_goes_on_over_new_year() -> None:
    text = "INFO 12-31 23:59:58 [a.py:1] first\nINFO 01-01 00:00:03 [b.py:2] Starting to load model m"
    assert read_startup_phases(text).phases[-1].start_s == pytest.approx(5.0)


def test_a_gpu_log_has_a_phase_for_graph_capture_although_its_line_has_no_stamp() -> None:
    text = (
        "INFO 05-18 10:00:00 [a.py:1] first\n"
        "INFO 05-18 10:00:10 [gpu_model_runner.py:1] Starting to load model m...\n"
        "INFO 05-18 10:00:20 [gpu_model_runner.py:2] Model loading took 7.1 GiB memory and 3.2 seconds\n"
        "INFO 05-18 10:00:30 [gpu_worker.py:3] Available KV cache memory: 150.1 GiB\n"
        "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):   0%|          | 0/51\n"
        "INFO 05-18 10:00:45 [api_server.py:4] Starting vLLM server on http://0.0.0.0:8000\n"
    )
    phases = {time.phase: time.start_s for time in read_startup_phases(text).phases}
    assert phases[Phase.GRAPH_CAPTURE] == pytest.approx(30.0)
    assert phases[Phase.READY] == pytest.approx(45.0)


def test_the_import_phase_is_what_the_log_leaves_of_the_total() -> None:
    start = make_start(read_log("implicit"), elapsed_s=61.0)
    table = compare_startups([start])
    assert table["a start"].sum() == pytest.approx(61.0)


def test_a_start_ended_at_its_limit_says_in_which_phase() -> None:
    text = read_log("implicit")
    start = make_start(text[: text.index("Warming up done")], ready=False)
    assert "ended in phase profile" in explain_startups([start])
