"""The guard: whatever a command starts, nothing of it is left."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from triage.processes import start_guarded

# A process that has left its session and its parent behind, as a daemon does.
DOUBLE_FORK = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(300)
    os._exit(0)
os.wait()
while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
    time.sleep(0.01)
"""

OWNER = """
import sys, time
from pathlib import Path
from triage.processes import start_guarded
command = start_guarded([sys.executable, "-c", sys.argv[1], sys.argv[2]])
while not Path(sys.argv[2]).exists() or not Path(sys.argv[2]).read_text():
    time.sleep(0.01)
print(command.pid, flush=True)
if len(sys.argv) > 3:
    import os
    if os.fork() == 0:  # as multiprocessing does: a copy of the owner, with all its open files
        time.sleep(300)
time.sleep(300)
"""


def wait_until(holds: Callable[[], bool], *, timeout_s: float = 30) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_pid(path: Path) -> int:
    assert wait_until(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_a_command_hands_its_exit_code_through():
    with start_guarded(python("raise SystemExit(7)")) as command:
        assert command.wait(timeout_s=30) == 7
    assert command.end().reason == "ended"


def test_death_by_a_signal_is_a_negative_exit_code():
    with start_guarded(python("import os; os.kill(os.getpid(), 11)")) as command:
        assert command.wait(timeout_s=30) == -signal.SIGSEGV


@pytest.mark.parametrize(("name", "code"), [("no-such-command-here", 127), ("/etc", 126)])
def test_a_command_that_cannot_run_ends_as_in_a_shell(name, code, tmp_path):
    log = tmp_path / "stderr"
    with log.open("wb") as stream, start_guarded([name], stderr=stream) as command:
        assert command.wait(timeout_s=30) == code
    assert name in log.read_text()


def test_an_empty_command_is_refused():
    with pytest.raises(ValueError, match="empty"):
        start_guarded([])


def test_ending_a_command_that_has_only_just_been_started_still_tells_how_it_ended():
    for _ in range(10):  # the guard has no signal handlers yet at this moment
        ending = start_guarded(["sleep", "60"]).end()
        assert (ending.reason, ending.returncode) == ("stopped", -signal.SIGTERM)


def test_a_daemon_that_a_command_leaves_behind_is_ended_and_named(tmp_path):
    with start_guarded(python(DOUBLE_FORK, tmp_path / "pid")) as command:
        assert command.wait(timeout_s=30) == 0
    daemon = read_pid(tmp_path / "pid")
    assert not is_alive(daemon)
    assert [orphan.pid for orphan in command.end().orphans] == [daemon]


@pytest.mark.parametrize("forks", [False, True], ids=["alone", "with a forked copy of itself"])
def test_killing_the_owner_ends_the_whole_tree(tmp_path, forks):
    code = f"{DOUBLE_FORK}\ntime.sleep(300)"
    owner = subprocess.Popen(
        python(OWNER, code, tmp_path / "pid", *(["fork"] if forks else [])), stdout=subprocess.PIPE, text=True
    )
    with owner:
        guard = int(owner.stdout.readline())
        daemon = read_pid(tmp_path / "pid")
        copies = []
        if forks:
            assert wait_until(lambda: any(p.pid != guard for p in psutil.Process(owner.pid).children()))
            copies = [p for p in psutil.Process(owner.pid).children() if p.pid != guard]
        owner.kill()
        assert wait_until(lambda: not is_alive(daemon) and not is_alive(guard))
        for copy in copies:
            copy.kill()


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path):
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write("1")
time.sleep(300)
"""
    command = start_guarded(python(code, tmp_path / "ready"), grace_s=0.3)
    read_pid(tmp_path / "ready")
    assert command.end().returncode == -signal.SIGKILL


def test_a_stopped_child_still_gets_its_chance_to_clean_up(tmp_path):
    code = """
import os, signal, sys
def clean_up(*_):
    open(sys.argv[1], "w").write("cleaned")
    sys.exit(3)
signal.signal(signal.SIGTERM, clean_up)
os.kill(os.getpid(), signal.SIGSTOP)
signal.pause()
"""
    command = start_guarded(python(code, tmp_path / "note"))
    assert wait_until(lambda: any(p.status() == psutil.STATUS_STOPPED for p in command.list_processes()))
    assert command.end().returncode == 3
    assert (tmp_path / "note").read_text() == "cleaned"


def test_a_command_does_not_hold_the_lifeline_of_its_guard():
    with start_guarded(
        python("import os; print(sorted(os.listdir('/proc/self/fd')))"), stdout=subprocess.PIPE
    ) as command:
        command.wait(timeout_s=30)
        listed = command._process.stdout.read().decode()
        command._process.stdout.close()
    assert listed.strip() == "['0', '1', '2', '3']", "3 is the listing itself"


def test_the_death_of_the_guard_does_not_leave_its_owner_waiting(tmp_path):
    command = start_guarded(python(DOUBLE_FORK + "\ntime.sleep(300)", tmp_path / "pid"))
    daemon = read_pid(tmp_path / "pid")
    os.kill(command.pid, signal.SIGKILL)
    assert command.wait(timeout_s=30) is None
    assert command.end().reason == "guard_died"
    os.kill(daemon, signal.SIGKILL)


def test_a_time_limit_leaves_the_command_running_until_it_is_ended():
    with start_guarded(["sleep", "300"]) as command:
        with pytest.raises(TimeoutError, match=r"0\.2 s"):
            command.wait(timeout_s=0.2)
        assert command.poll() is None
        assert [p.name() for p in command.list_processes()] == ["sleep"]
    assert command.poll() == -signal.SIGTERM


def test_no_descriptor_and_no_zombie_is_left():
    def count() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(psutil.Process().children())

    start_guarded(["true"]).end()
    before = count()
    for _ in range(5):
        with start_guarded(["true"]) as command:
            command.wait(timeout_s=30)
        with pytest.raises(FileNotFoundError):
            start_guarded(["true"], cwd="/no/such/folder")
    assert count() == before


def test_a_killed_guard_leaves_no_child_of_its_command(tmp_path):
    code = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "note = pathlib.Path(sys.argv[1])\nnote.with_suffix('.new').write_text(str(child.pid))\n"
        "note.with_suffix('.new').rename(note)\ntime.sleep(60)"
    )
    command = start_guarded(python(code, tmp_path / "pid"))
    assert wait_until((tmp_path / "pid").exists)
    child = int((tmp_path / "pid").read_text())
    assert not command.ended
    os.kill(command.pid, signal.SIGKILL)
    assert wait_until(lambda: command.ended)
    assert command.end().reason == "guard_died"
    assert wait_until(lambda: not is_alive(child))


LEADERLESS = """
import ctypes, os, sys, threading, time
if os.fork() == 0:
    os.setsid()
    def announce():
        time.sleep(0.2)
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(300)
    threading.Thread(target=announce).start()
    ctypes.CDLL(None).pthread_exit(None)
while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
    time.sleep(0.01)
"""


def test_a_process_whose_main_thread_alone_has_ended_is_ended_too(tmp_path):
    told = tmp_path / "pid"
    with start_guarded([sys.executable, "-c", LEADERLESS, str(told)]) as command:
        command.wait(timeout_s=60)
    pid = int(told.read_text())
    assert [orphan.pid for orphan in command.end().orphans] == [pid]
    assert wait_until(lambda: not psutil.pid_exists(pid))
