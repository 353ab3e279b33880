"""The rule for signs of life on numbers, and the reading of the output that passes."""

import os
import subprocess
import sys
import time

import pytest

from triage.engine.phases import Phase, PhaseReader, is_waiting, strip_colour
from triage.hangs._lines import LINE_BYTES, Output
from triage.hangs._progress import ProcessWork, ThreadWork, find_sign
from triage.hangs._sample import Frame, Process, Sample, Thread
from triage.hangs._spin import LOOKS_LEAST, SpinProbe
from triage.hangs._work import WorkReader


def process(cpu_s: float, wakes: int, *, io_bytes: int = 0) -> ProcessWork:
    return ProcessWork(cpu_s=cpu_s, io_bytes=io_bytes, threads=(ThreadWork(cpu_s=cpu_s, wakes=wakes),))


# As measured in a second on vLLM 0.32, doubled: a machine under load makes each wake-up dearer.
IDLE = {
    "engine core of a hung start": process(0.0006, 1),
    "API server of a hung start": process(0.0004, 1),
    "API server that waits": process(0.005, 23),
    "worker that waits": process(0.028, 2600),
}


@pytest.mark.parametrize("name", IDLE)
def test_an_idle_heartbeat_is_no_sign_of_life(name):
    assert find_sign([IDLE[name]], interval_s=1.0) is None


def test_all_idle_processes_of_a_server_together_are_no_sign_of_life():
    assert find_sign([*IDLE.values(), *[IDLE["worker that waits"]] * 8], interval_s=1.0) is None


@pytest.mark.parametrize(
    ("work", "sign"),
    [
        (process(0.9, 3), "cpu"),
        (process(0.003, 1), "cpu"),  # a little work, then sleep
        (process(0.01, 9000), "switches"),
        (process(0.0, 0, io_bytes=40_000), "io"),
        (ProcessWork(cpu_s=0.0, ended_s=0.03), "cpu"),  # children that came and went
    ],
)
def test_work_is_a_sign_of_life_among_idle_processes(work, sign):
    assert find_sign([*IDLE.values(), work], interval_s=1.0) == sign


def test_small_pieces_of_work_beside_a_poll_of_the_same_process_are_seen():
    threads = (ThreadWork(cpu_s=0.014, wakes=1280), ThreadWork(cpu_s=0.006, wakes=2))
    assert find_sign([ProcessWork(cpu_s=0.02, threads=threads)], interval_s=1.0) == "cpu"


def test_a_busy_gpu_is_a_sign_of_life_and_an_idle_one_is_none():
    assert find_sign([], interval_s=1.0, gpu_percent=80.0) == "gpu"
    assert find_sign([], interval_s=1.0, gpu_percent=1.0) is None


def test_what_is_true_of_a_second_is_true_of_five():
    assert find_sign([process(0.1, 6000)], interval_s=5.0) is None
    assert find_sign([process(0.015, 5)], interval_s=5.0) == "cpu"


@pytest.mark.parametrize(
    ("code", "sign"),
    [
        ("import time\nwhile True: time.sleep(0.1)", None),
        ("while True: pass", "cpu"),
        ("import time\nwhile True:\n    sum(range(200_000)); time.sleep(0.3)", "cpu"),
        ("import threading, time\nthreading.Thread(target=lambda: time.sleep(99)).start()\ntime.sleep(99)", None),
    ],
    ids=["polls", "computes", "computes now and then", "sleeps"],
)
def test_a_real_process_is_judged_by_what_it_does(code, sign):
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        time.sleep(1.0)  # its start is work
        reader = WorkReader(os.getpid(), now_s=time.monotonic())
        reader.look(time.monotonic())
        assert child.pid in reader.pids
        reader.look_close(time.monotonic())
        time.sleep(1.5)
        reader.look(time.monotonic())
        interval_s, works = reader.look_close(time.monotonic())
        child.kill()
    assert find_sign(works, interval_s=interval_s) == sign


def test_cpu_time_of_children_that_came_and_went_between_two_looks_is_work():
    code = "import subprocess, sys\nwhile True: subprocess.run([sys.executable, '-c', 'sum(range(3_000_000))'])"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        reader = WorkReader(os.getpid(), now_s=time.monotonic())
        reader.look(time.monotonic())
        reader.look_close(time.monotonic())
        time.sleep(2.0)
        look = reader.look(time.monotonic())
        interval_s, works = reader.look_close(time.monotonic())
        child.terminate()
    assert look.cpu_s > 0.03
    assert find_sign(works, interval_s=interval_s) == "cpu"


def test_a_shell_that_sleeps_by_turns_does_no_work():
    with subprocess.Popen(["sh", "-c", "while :; do sleep 1; done"]) as child:
        time.sleep(0.3)
        reader = WorkReader(os.getpid(), now_s=time.monotonic())
        reader.look(time.monotonic())
        reader.look_close(time.monotonic())
        time.sleep(3.0)
        reader.look(time.monotonic())
        interval_s, works = reader.look_close(time.monotonic())
        child.kill()
    assert find_sign(works, interval_s=interval_s) is None


# Waits for a GPU


def make_sample(at_s: float, *, waits: bool = True, worker: str = "S", line: int = 7) -> Sample:
    inner = Frame(function="hipDeviceSynchronize", file="libamdhip64.so", native=True)
    frames = (inner, Frame(function="synchronize", file="torch/cuda/__init__.py", line=1083))
    caller = Frame(function="step", file="train.py", line=line)
    threads = (
        Thread(tid=7, name="main", state="R", cpu_s=at_s, frames=(*frames, caller) if waits else (caller,)),
        Thread(tid=8, name="loader", state=worker, cpu_s=1.0, frames=(caller,)),
    )
    one = Process(
        pid=7, ppid=1, name="python", command=(), state="R", cpu_s=at_s, rss_bytes=0, start_ticks=1, threads=threads
    )
    return Sample(at_s=at_s, processes=(one,))


def probe_with(*samples: Sample) -> SpinProbe:
    probe = SpinProbe(lambda _: samples[0], stall_s=10.0)
    for sample in samples:
        probe.note(sample, sample.at_s)
    return probe


def test_cpu_time_that_stays_in_one_wait_for_a_gpu_is_suspect_and_then_none():
    assert not probe_with(make_sample(5.0)).suspects
    assert probe_with(make_sample(5.0), make_sample(7.0)).suspects
    probe = probe_with(*(make_sample(5.0 + 2 * n) for n in range(LOOKS_LEAST)))
    assert probe.spins


@pytest.mark.parametrize(
    "other",
    [make_sample(7.0, waits=False), make_sample(7.0, worker="R"), make_sample(7.0, line=8)],
    ids=["not in the wait", "another thread works", "waits elsewhere"],
)
def test_a_tree_that_moves_between_two_looks_does_not_spin(other):
    assert not probe_with(make_sample(5.0), other, make_sample(9.0)).spins


# Phases and lines


def test_phases_move_on_in_spite_of_colours_and_prefixes_and_never_back():
    reader = PhaseReader()
    lines = [
        "\x1b[0;36m(APIServer pid=1)\x1b[0;0m \x1b[32mINFO\x1b[0m 11-23 15:26:01 [a.py:286] non-default args: {}",
        "(EngineCore pid=2) INFO 11-23 15:26:05 [core.py:1] Initializing a V1 LLM engine (v0.32.0)",
        "(Worker pid=3) INFO 11-23 15:26:09 [cpu_model_runner.py:68] Starting to load model m...",
        "(EngineCore pid=2) INFO 11-23 15:26:05 [core.py:1] Initializing a V1 LLM engine (v0.32.0)",
        "(Worker pid=3) INFO 11-23 15:26:11 [cpu_model_runner.py:87] Warming up model for the compilation...",
        "INFO:     Application startup complete.",
        'INFO:     127.0.0.1:46074 - "GET /health HTTP/1.1" 200 OK',
        'INFO:     127.0.0.1:46074 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
    ]
    begun = [phase for line in lines for phase in reader.read(strip_colour(line))]
    assert begun == [Phase.CONFIG, Phase.WORKERS, Phase.WEIGHTS, Phase.PROFILE, Phase.READY, Phase.REQUEST]


def test_the_second_engine_of_a_run_begins_anew():
    reader = PhaseReader()
    reader.read("INFO 11-23 15:26:01 [api_utils.py:286] non-default args: {}")
    reader.read("INFO 11-23 15:26:09 [x.py:68] KV cache size: 9 tokens")
    assert reader.read("INFO 11-23 15:27:01 [api_utils.py:286] non-default args: {}") == (Phase.CONFIG,)
    assert reader.read("INFO 11-23 15:27:09 [x.py:68] Starting to load model m...") == (Phase.WEIGHTS,)


def test_an_error_that_a_server_answers_is_no_served_request():
    reader = PhaseReader()
    reader.read("INFO 11-23 15:26:01 [a.py:1] non-default args: {}")
    assert reader.read('INFO: 127.0.0.1:1 - "POST /v1/chat/completions HTTP/1.1" 500 Internal Server Error') == ()


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


WAITING = (
    b"(EngineCore pid=2) INFO 11-23 15:26:01 [shm_broadcast.py:681] "
    b"No available shared memory broadcast block found in 60 seconds.\n"
)


def test_a_waiting_line_of_vllm_is_no_sign_of_life_and_any_other_is(clock):
    assert is_waiting(WAITING.decode())
    output = Output(clock)
    stream = output.open_stream()
    stream.feed(b"begin\n")
    clock.now_s = 60.0
    stream.feed(WAITING)
    assert (output.at_s, output.last_line) == (0.0, "begin")
    clock.now_s = 61.0
    stream.feed(b"on\n")
    assert (output.at_s, output.last_line) == (61.0, "on")


def test_a_waiting_line_that_comes_in_pieces_is_none_either(clock):
    output = Output(clock)
    stream = output.open_stream()
    stream.feed(b"begin\n")
    clock.now_s = 60.0
    stream.feed(WAITING[:25])
    stream.feed(WAITING[25:])
    output.settle()
    assert output.at_s == 0.0


def test_a_marker_that_comes_in_pieces_is_found_and_timed_by_its_end(clock):
    output = Output(clock)
    stream = output.open_stream()
    line = b"(Worker pid=3) INFO 11-23 15:26:09 [cpu_model_runner.py:68] Starting to load model m...\r\n"
    for n in range(len(line)):
        clock.now_s = n / 10
        stream.feed(line[n : n + 1])
    assert [(mark.phase, mark.at_s) for mark in output.phases] == [("import", 0.0), ("config", 8.7), ("weights", 8.7)]


def test_the_two_streams_of_a_command_do_not_mix_their_lines(clock):
    output = Output(clock)
    one, other = output.open_stream(), output.open_stream()
    one.feed(b"INFO 11-23 15:26:09 [a.py:68] Starting to ")
    other.feed(b"noise\n")
    one.feed(b"load model m\n")
    assert output.phase == "weights"


def test_dots_without_a_newline_and_a_bar_of_carriage_returns_are_signs_of_life(clock):
    output = Output(clock)
    stream = output.open_stream()
    for at_s, data in ((1.0, b"."), (2.0, b"."), (3.0, b"\r 50%|##"), (4.0, b"\r 60%|###")):
        clock.now_s = at_s
        stream.feed(data)
        output.settle()
        assert output.at_s == at_s
    assert output.last_line == "60%|###"


def test_a_line_without_end_takes_no_memory(clock):
    output = Output(clock)
    stream = output.open_stream()
    chunk = b"x" * 65536
    for _ in range(200):
        stream.feed(chunk)
    assert len(stream.rest) <= LINE_BYTES
    assert output.bytes == 200 * 65536
    stream.feed(b"\nINFO 11-23 15:26:09 [a.py:68] Starting to load model m\n")
    assert output.phase == "weights"


def test_a_pouring_command_is_not_searched_beyond_the_budget_and_its_last_line_is_known(clock):
    output = Output(clock)
    stream = output.open_stream()
    noise = b"INFO 11-23 15:26:09 [a.py:68] nothing\n" * 30_000
    for _ in range(10):
        stream.feed(noise)
    assert not output.spend(len(noise))
    stream.feed(b"the end\n")
    assert output.last_line == "the end"
    clock.now_s = 60.0  # it has saved up again
    stream.feed(b"INFO 11-23 15:26:09 [a.py:68] Starting to load model m\n")
    assert output.phase == "weights"


def test_the_versions_of_a_record_are_those_of_the_packages_own_metadata():
    from importlib import metadata

    from triage.engine.versions import read_versions

    versions = read_versions()
    for name in ("transformers", "tokenizers", "triage"):
        assert versions[name] == metadata.version(name)
