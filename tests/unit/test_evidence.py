"""Evidence before the kill: what is read of a real tree, and what cannot be had."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.evidence_programs import (
    GRANDCHILD,
    LOCK_ORDER,
    SLEEP,
    TREE_OF_TEN,
    Programs,
    collect,
    find,
    list_calls,
    list_tree,
    stop,
    wait_for_state,
    wait_until,
)
from triage.hangs import NotCollected, Process, collect_evidence, read_listening_ports, take_sample
from triage.hangs import _pyspy as pyspy


@pytest.fixture
def programs() -> Iterator[Programs]:
    programs = Programs()
    yield programs
    programs.end()


def write_tool(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_threads_that_wait_for_each_other_show_it_in_both_samples(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start(LOCK_ORDER)
    evidence = collect(pid, tmp_path)
    first, last = (find(evidence, pid, sample=number) for number in (0, 1))
    for process in (first, last):
        assert process.stack_source == "py-spy --native"
        assert [thread.name for thread in process.threads] == ["MainThread", "worker"]
        for thread in process.threads:
            assert "take" in list_calls(thread)
            assert thread.state == "S"
            assert thread.syscall is not None
            assert thread.syscall.startswith("futex(0x")
            assert thread.holds_gil is False
    assert evidence.samples[1].at_s - evidence.samples[0].at_s >= 0.3
    assert [thread.cpu_s for thread in first.threads] == [thread.cpu_s for thread in last.threads]


def test_python_calls_have_lines_and_native_ones_say_that_they_are(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start(LOCK_ORDER)
    main = find(collect(pid, tmp_path), pid).threads[0]
    take = next(frame for frame in main.frames if frame.function == "take")
    assert (take.file, take.line, take.native) == ("<string>", 11, False)
    assert main.frames[0].native  # it waits in the C library
    assert list_calls(main).index("take") < list_calls(main).index("<module>")


def test_a_grandchild_that_holds_the_gil_in_native_code_is_named(programs: Programs, tmp_path: Path) -> None:
    pid = programs.run(sys.executable, "-c", GRANDCHILD)
    while len(tree := list_tree(pid)) < 3 or len(os.listdir(f"/proc/{tree[-1]}/task")) < 2:
        time.sleep(0.05)
    wait_for_mutex(tree[-1])
    evidence = collect(pid, tmp_path)
    assert len(evidence.samples[-1].processes) == 3
    grandchild = find(evidence, tree[-1])
    main = grandchild.threads[0]
    assert main.holds_gil is True
    assert "<module>" in list_calls(main)
    assert main.frames[0].native
    assert all(thread.holds_gil is False for thread in grandchild.threads[1:])


def wait_for_mutex(pid: int) -> None:
    """Until the main thread waits for a futex."""
    while "futex" not in (
        take_sample([pid], clock=time.monotonic, limit_s=30, stacks=False).processes[0].threads[0].syscall or ""
    ):
        time.sleep(0.05)


def test_a_stopped_process_has_stacks_and_stays_stopped(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start(LOCK_ORDER)
    stop(pid)
    evidence = collect(pid, tmp_path)
    process = find(evidence, pid)
    assert process.state == "T"
    assert all("take" in list_calls(thread) for thread in process.threads)
    assert process.stack_source == "py-spy"
    assert process.stack_error == "without native calls: the process is stopped"
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED


def test_a_process_in_state_d_has_stacks_and_keeps_nobody_waiting(programs: Programs, tmp_path: Path) -> None:
    # A parent waits so for a child of vfork, which cannot go on: it opens a FIFO that nobody writes to.
    os.mkfifo(tmp_path / "fifo")
    action = f"[(os.POSIX_SPAWN_OPEN, 0, {str(tmp_path / 'fifo')!r}, os.O_RDONLY, 0)]"
    pid = programs.start(
        f"import os\nprint('ready', flush=True)\nos.posix_spawn('/bin/true', ['true'], {{}}, file_actions={action})"
    )
    wait_for_state(pid, psutil.STATUS_DISK_SLEEP)
    process = find(collect(pid, tmp_path), pid)
    assert process.state == "D"
    assert process.stack_source == "py-spy"
    assert list_calls(process.threads[0]) == ["<module>"]
    assert process.stack_error == "without native calls: a thread is in state D"
    assert psutil.Process(pid).status() == psutil.STATUS_DISK_SLEEP


def test_a_process_that_another_traces_has_stacks_and_is_left_to_it(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start(SLEEP)
    tracer = programs.start(
        f"import ctypes, time\nassert ctypes.CDLL(None).ptrace(0x4206, {pid}, None, None) == 0\n{SLEEP}"
    )
    evidence = collect_evidence(lambda: [pid], folder=tmp_path, clock=time.monotonic, gap_s=0, limit_s=60)
    process = find(evidence, pid)
    assert list_calls(process.threads[0]) == ["<module>"]
    assert process.stack_error == f"without native calls: process {tracer} traces it"


def test_a_process_that_ran_still_runs_after_a_pyspy_that_was_too_late(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It leaves the process as a py-spy does that is killed between its request to stop it and the stop.
    write_tool(tmp_path, "py-spy", 'for last; do :; done; kill -STOP "$last"; exec sleep 60')
    monkeypatch.setattr(pyspy, "find_pyspy", lambda: str(tmp_path / "py-spy"))
    pid = programs.start(SLEEP)
    process = take_sample([pid], clock=time.monotonic, limit_s=0.1).processes[0]
    dump = pyspy.dump_python(process, native=True, limit_s=1.0)
    assert dump.why == "py-spy gave no answer within 1.0 s and was killed"
    assert psutil.Process(pid).status() != psutil.STATUS_STOPPED


def test_a_zombie_is_seen_and_nothing_is_missing_of_it(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start("import os, time\nos.fork() or os._exit(0)\nprint('ready', flush=True)\ntime.sleep(300)")
    zombie = list_tree(pid)[1]
    wait_for_state(zombie, psutil.STATUS_ZOMBIE)
    evidence = collect(pid, tmp_path)
    assert find(evidence, zombie).state == "Z"
    assert find(evidence, zombie).stack_error == "it has ended and is not yet reaped"
    assert not [item for item in evidence.not_collected if str(zombie) in item.what]


def test_a_process_that_renamed_itself_has_both_names(programs: Programs, tmp_path: Path) -> None:
    rename = "import ctypes; ctypes.CDLL(None).prctl(15, b'VLLM::EngineCor'); "
    pid = programs.start(rename + SLEEP)
    process = find(collect(pid, tmp_path), pid)
    assert process.name == "VLLM::EngineCor"
    assert process.command[1] == "-c"
    assert "<module>" in list_calls(process.threads[0])


def test_a_name_that_is_no_text_is_kept_readable(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start("import ctypes; ctypes.CDLL(None).prctl(15, b'a) \\xff (b'); " + SLEEP)
    assert find(collect(pid, tmp_path), pid).name == "a) \\xff (b"


def test_every_process_of_a_tree_of_ten_has_stacks_twice(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start(TREE_OF_TEN)
    evidence = collect(pid, tmp_path)
    for sample in evidence.samples:
        assert len(sample.processes) == 10
        assert all(process.threads[0].frames for process in sample.processes)
    main = find(evidence, pid)
    assert {file.mode for file in main.files if file.target.startswith("pipe:")} >= {"r"}
    assert main.threads[0].syscall == f"wait4({list_tree(pid)[1]})"


def test_the_ends_of_a_pipe_are_matched_across_processes(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start(
        "import os, time\nr, w = os.pipe()\nif os.fork():\n os.close(w); print('ready', flush=True); os.read(r, 1)\n"
        "os.close(r); time.sleep(300)"
    )
    evidence = collect(pid, tmp_path)
    reader = find(evidence, pid)
    writer = find(evidence, list_tree(pid)[1])
    call = reader.threads[0].syscall
    read = next(file for file in reader.files if call == f"read({file.fd})")
    assert read.mode == "r"
    assert [file.mode for file in writer.files if file.target == read.target] == ["w"]


def test_the_far_end_of_a_connection_is_named(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start(
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\nc = socket.create_connection(s.getsockname())\n"
        "print('ready', flush=True)\nc.recv(1)"
    )
    process = find(collect(pid, tmp_path), pid)
    [port] = read_listening_ports([pid])
    peers = {file.peer for file in process.files if file.target.startswith("socket:")}
    assert f"listens on {port}" in peers
    assert f"127.0.0.1:{port}" in peers


def test_shared_memory_that_is_mapped_is_held_without_a_descriptor(programs: Programs, tmp_path: Path) -> None:
    path = Path(f"/dev/shm/triage-test-mapped-{os.getpid()}")
    path.write_bytes(bytes(4096))
    try:
        pid = programs.start(
            f"import ctypes, os, time\nfd = os.open({str(path)!r}, os.O_RDWR)\n"
            "ctypes.CDLL(None).mmap(None, 4096, 1, 1, fd, 0)\nos.close(fd)\nprint('ready', flush=True)\ntime.sleep(300)"
        )
        evidence = collect(pid, tmp_path)
    finally:
        path.unlink()
    assert [file.fd for file in find(evidence, pid).files if file.target == str(path)] == [-1]
    assert evidence.shm is not None
    assert evidence.shm[str(path)] == 4096


def test_a_program_without_python_says_so_and_nothing_is_missing(programs: Programs, tmp_path: Path) -> None:
    pid = programs.run("sleep", "300")
    evidence = collect(pid, tmp_path)
    process = find(evidence, pid)
    assert process.stack_error == "no Python interpreter in it"
    assert process.threads[0].syscall == "clock_nanosleep"
    assert not [item for item in evidence.not_collected if "stacks" in item.what]


def test_a_wait_that_the_reading_interrupted_keeps_its_name(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start("import select; print('ready', flush=True); select.poll().poll(300_000)")
    evidence = collect(pid, tmp_path)
    first, last = (find(evidence, pid, sample=number).threads[0].syscall for number in (0, 1))
    assert last is not None
    assert last.startswith("poll")
    assert first == last


def test_native_calls_of_busy_processes_are_read_before_those_of_idle_ones(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = programs.start(SLEEP)
    busy = programs.start("print('ready', flush=True)\nwhile True: pass")
    asked: list[int] = []

    def dump(process: Process, *, native: bool, limit_s: float) -> pyspy.Dump:
        if native:
            asked.append(process.pid)
        return pyspy.dump_python(process, native=native, limit_s=limit_s)

    monkeypatch.setattr("triage.hangs._stacks.dump_python", dump)
    monkeypatch.setattr("triage.hangs._stacks._AT_ONCE", 1)
    wait_until(lambda: psutil.Process(busy).status() == psutil.STATUS_RUNNING)
    take_sample([idle, busy], clock=time.monotonic, limit_s=60)
    assert asked == [busy, idle]


def test_without_pyspy_the_kernels_facts_remain_and_the_mend_is_named(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, python = programs.run("sleep", "300"), programs.start(SLEEP)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", str(tmp_path))
    pyspy.find_pyspy.cache_clear()
    try:
        evidence = collect_evidence(lambda: [pid, python], folder=tmp_path, clock=time.monotonic, gap_s=0, limit_s=20)
    finally:
        pyspy.find_pyspy.cache_clear()
    error = find(evidence, python).stack_error
    assert error is not None
    assert "pip install py-spy" in error
    assert find(evidence, python).threads[0].state == "S"


def test_a_tree_that_ends_between_the_samples_leaves_one(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start(SLEEP)
    answers = iter([[pid], []])
    evidence = collect_evidence(lambda: next(answers), folder=tmp_path, clock=time.monotonic, gap_s=0.1, limit_s=60)
    assert len(evidence.samples) == 1


def test_a_tree_that_has_ended_leaves_what_the_machine_says(tmp_path: Path) -> None:
    evidence = collect_evidence(list, folder=tmp_path, clock=time.monotonic)
    assert evidence.samples == ()
    assert evidence.memory is not None
    assert evidence.memory["total_bytes"] > 0


def test_a_supervisor_that_cannot_list_is_evidence_that_is_missing(tmp_path: Path) -> None:
    def fail() -> list[int]:
        raise RuntimeError("no table")

    evidence = collect_evidence(fail, folder=tmp_path, clock=time.monotonic)
    assert NotCollected(what="processes", why="RuntimeError: no table") in evidence.not_collected


def test_a_sample_without_stacks_reads_the_kernel_alone(programs: Programs) -> None:
    pid = programs.start(SLEEP)
    sample = take_sample([pid], clock=lambda: 7.0, limit_s=30, stacks=False)
    assert sample.at_s == 7.0
    assert sample.processes[0].threads[0].frames == ()
    assert sample.processes[0].stack_error is None
    assert sample.gpu is None
