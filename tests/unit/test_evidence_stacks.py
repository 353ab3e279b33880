"""Where ptrace is refused: processes write their stacks themselves, and no process dies of being asked."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.evidence_programs import HOLD_GIL, LOCK_ORDER, REFUSE_PTRACE, SLEEP, Programs, wait_until
from triage.hangs import _faulthandler as faulthandler
from triage.hangs import prepare_stacks, take_sample
from triage.hangs._faulthandler import dump_by_signal, parse_traceback
from triage.hangs._ptrace import why_no_ptrace

# A supervisor: it starts a program with what `prepare_stacks` asks for, and prints a sample of its tree.
SUPERVISOR = """
import json, os, subprocess, sys, time
from dataclasses import asdict
from pathlib import Path
import psutil
from triage.hangs import collect_evidence, prepare_stacks
folder, source, options = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
added = prepare_stacks(folder / "stacks")
command = subprocess.Popen([sys.executable, *options, "-c", source], env=os.environ | added, stdout=subprocess.PIPE)
command.stdout.readline()
time.sleep(0.5)
list_pids = lambda: [command.pid, *(p.pid for p in psutil.Process(command.pid).children(recursive=True))]
evidence = collect_evidence(
    list_pids, folder=folder, clock=time.monotonic, gap_s=0.3, limit_s=60, stacks_folder=folder / "stacks"
)
alive = command.poll() is None
for pid in list_pids():
    os.kill(pid, 9)
print(json.dumps({"added": added, "alive": alive, "evidence": asdict(evidence)}))
"""

# Threads that wait in functions of their own, started in another order than they are named; FILE says which is which.
MANY_THREADS = """
import json, threading, time
tids, gate, waiters = {}, threading.Event(), {}
for name in "edbac":
    exec(f"def wait_{name}():\\n tids['wait_{name}'] = threading.get_native_id()\\n gate.wait()", globals())
    threading.Thread(target=globals()[f"wait_{name}"], daemon=True).start()
while len(tids) < 5:
    time.sleep(0.01)
open(FILE, "w").write(json.dumps(tids))
print("ready", flush=True)
gate.wait()
"""


@pytest.fixture
def programs() -> Iterator[Programs]:
    programs = Programs()
    yield programs
    programs.end()


def supervise_refused(folder: Path, source: str, *options: str, env: dict[str, str] | None = None) -> dict[str, object]:
    """What a supervisor collects that runs, with its command, under a real filter against ptrace."""
    command = [sys.executable, REFUSE_PTRACE, sys.executable, "-c", SUPERVISOR, folder, source, *options]
    done = subprocess.run(command, check=True, capture_output=True, env=os.environ | (env or {}))
    return json.loads(done.stdout)


def list_last(told: dict[str, object]) -> list[dict[str, object]]:
    return told["evidence"]["samples"][-1]["processes"]


def list_functions(thread: dict[str, object]) -> list[str]:
    return [frame["function"] for frame in thread["frames"]]


def test_nothing_is_added_where_one_may_look_from_outside(tmp_path: Path) -> None:
    if why_no_ptrace() is not None:
        pytest.skip(f"here it may not: {why_no_ptrace()}")
    assert prepare_stacks(tmp_path / "stacks") == {}
    assert not (tmp_path / "stacks").exists()


def test_a_command_with_a_python_path_of_its_own_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faulthandler, "why_no_ptrace", lambda: "ptrace is refused")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    added = prepare_stacks(tmp_path, env={"PYTHONPATH": "/theirs"})
    assert added["PYTHONPATH"].split(os.pathsep)[1:] == ["/theirs"]
    assert prepare_stacks(tmp_path)["PYTHONPATH"].split(os.pathsep)[1:] == ["/ours"]


def test_every_thread_dumps_itself_and_is_known_by_its_number(tmp_path: Path) -> None:
    told = supervise_refused(tmp_path, LOCK_ORDER)
    [process] = list_last(told)
    assert told["alive"]
    assert process["stack_source"] == "faulthandler"
    assert process["stack_error"].startswith("without native calls: ptrace is refused")
    assert len(process["threads"]) == 2
    for thread in process["threads"]:
        assert "take" in list_functions(thread)
        assert thread["syscall"].startswith("futex(0x")
        assert thread["holds_gil"] is None
    main, worker = process["threads"]
    assert list_functions(main)[-1] == "<module>"
    assert "_bootstrap" in list_functions(worker)
    assert worker["tid"] > main["tid"]


def test_a_native_call_that_holds_the_gil_keeps_no_stack_back(tmp_path: Path) -> None:
    [process] = list_last(supervise_refused(tmp_path, HOLD_GIL))
    assert process["stack_source"] == "faulthandler"
    assert "<module>" in list_functions(process["threads"][0])


def test_a_forked_child_has_stacks_of_its_own(tmp_path: Path) -> None:
    child = "def in_child(): time.sleep(300)\n"
    told = supervise_refused(
        tmp_path, f"import os, time\n{child}print('ready', flush=True)\nin_child() if os.fork() == 0 else os.wait()"
    )
    parent, forked = list_last(told)
    assert "in_child" in list_functions(forked["threads"][0])
    assert "in_child" not in list_functions(parent["threads"][0])


def test_a_process_without_the_handler_lives_and_says_what_to_do(tmp_path: Path) -> None:
    told = supervise_refused(tmp_path, SLEEP, "-I")  # -I: no PYTHONPATH, so no handler
    [process] = list_last(told)
    assert told["alive"]
    assert process["threads"][0]["frames"] == []
    assert process["threads"][0]["state"] == "S"
    assert "ptrace is refused (Operation not permitted)" in process["stack_error"]
    assert "--cap-add=SYS_PTRACE" in process["stack_error"]
    assert any("--cap-add=SYS_PTRACE" in item["why"] for item in told["evidence"]["not_collected"])


def test_a_process_that_uses_the_signal_for_itself_never_gets_it(tmp_path: Path) -> None:
    own = f"import os, signal; signal.signal({faulthandler.SIGNAL:d}, lambda *_: os._exit(7)); {SLEEP}"
    told = supervise_refused(tmp_path, own, "-I")
    assert told["alive"]
    assert "not started with the handler" in list_last(told)[0]["stack_error"]


def test_each_of_many_threads_is_known_by_its_number(tmp_path: Path) -> None:
    told = supervise_refused(tmp_path, f"FILE = {str(tmp_path / 'tids')!r}\n{MANY_THREADS}")
    [process] = list_last(told)
    tids = {thread["tid"]: list_functions(thread) for thread in process["threads"] if thread["frames"]}
    wanted = json.loads((tmp_path / "tids").read_text())
    assert len(wanted) == 5
    assert all(name in tids[tid] for name, tid in wanted.items())


def test_a_process_that_took_the_handler_away_lives(tmp_path: Path) -> None:
    told = supervise_refused(
        tmp_path, f"import signal; signal.signal({faulthandler.SIGNAL:d}, signal.SIG_DFL); {SLEEP}"
    )
    assert told["alive"]
    assert "given up its handler" in list_last(told)[0]["stack_error"]


@pytest.mark.parametrize("order", [("shim", "first", "second"), ("first", "shim", "second")], ids=["first", "second"])
def test_other_sitecustomize_files_on_the_path_still_run_each_once(tmp_path: Path, order: tuple[str, ...]) -> None:
    for name, hand_over in (("first", HAND_OVER), ("second", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sitecustomize.py").write_text(f"import sys\nprint({name!r}, file=sys.stderr)\n{hand_over}")
    path = os.pathsep.join(str(faulthandler.SHIM if name == "shim" else tmp_path / name) for name in order)
    folder = tmp_path / "stacks"
    folder.mkdir()
    env = {
        "PYTHONPATH": path,
        "TRIAGE_STACKS_FOLDER": str(folder),
        "TRIAGE_STACKS_SIGNAL": str(int(faulthandler.SIGNAL)),
    }
    code = "import os; print(os.listdir(os.environ['TRIAGE_STACKS_FOLDER']) == [str(os.getpid())])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    assert done.stderr.split() == ["first", "second"]
    assert list(folder.iterdir()) == []  # unused, and gone with its process


# As the shim of the engine does it: the first other one on the path, which is this project's own shim here.
HAND_OVER = """
import importlib.util, os
from importlib.machinery import PathFinder
rest = [entry for entry in sys.path if os.path.realpath(entry or ".") != os.path.dirname(os.path.realpath(__file__))]
spec = PathFinder.find_spec("sitecustomize", rest)
spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


def test_a_command_whose_folder_is_gone_runs_all_the_same(tmp_path: Path) -> None:
    env = {
        "PYTHONPATH": str(faulthandler.SHIM),
        "TRIAGE_STACKS_FOLDER": str(tmp_path / "none"),
        "TRIAGE_STACKS_SIGNAL": "45",
    }
    done = subprocess.run([sys.executable, "-c", "print(1)"], env=os.environ | env, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"1\n", b"")


def test_a_stopped_process_is_not_asked_to_dump_itself(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faulthandler, "why_no_ptrace", lambda: "ptrace is refused")
    pid = programs.start(SLEEP, env=prepare_stacks(tmp_path))
    os.kill(pid, 19)
    wait_until(lambda: take_sample([pid], clock=time.monotonic, limit_s=9, stacks=False).processes[0].state == "T")
    process = take_sample([pid], clock=time.monotonic, limit_s=9, stacks=False).processes[0]
    dump = dump_by_signal([process], tmp_path, limit_s=5)[pid]
    assert dump.why is not None
    assert "a stopped process cannot dump its own stacks" in dump.why
    assert (tmp_path / str(pid)).read_bytes() == b""


def test_each_dump_is_read_alone_although_the_file_keeps_both(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faulthandler, "why_no_ptrace", lambda: "ptrace is refused")
    pid = programs.start(LOCK_ORDER, env=prepare_stacks(tmp_path))
    process = take_sample([pid], clock=time.monotonic, limit_s=9, stacks=False).processes[0]
    for _ in range(2):
        assert len(dump_by_signal([process], tmp_path, limit_s=30)[pid].threads) == 2


def test_names_and_unknown_lines_of_newer_pythons_are_understood() -> None:
    text = """Thread 0x00007f01 [worker] (most recent call first):
  File "/usr/lib/python3.14/threading.py", line 359 in wait
  ...
Current thread 0x00007f02 [python] (most recent call first):
  File "/home/me/.venv/lib/python3.14/site-packages/torch/cuda/__init__.py", line 1083 in synchronize
  File "/home/me/run.py", line ??? in <module>

Current thread's C stack trace (most recent call first):
  Binary file "/usr/bin/python3", at _Py_DumpStack+0x48
"""
    worker, main = parse_traceback(text)
    assert (worker[0], worker[1], str(worker[2][0])) == (0x7F01, "worker", "wait (threading.py:359)")
    assert [str(frame) for frame in main[2]] == ["synchronize (torch/cuda/__init__.py:1083)", "<module> (run.py)"]
