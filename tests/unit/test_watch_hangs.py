"""A command that hangs, or is stopped, or whose watch dies: nothing of it survives, and the record says what it was."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

# A daemon with a name of its own, in a session of its own, whose parent is gone.
DAEMON = """
import ctypes, os, pathlib, signal, sys, time
def daemon(note):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"renamed", 0, 0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            pathlib.Path(note + ".new").write_text(str(os.getpid()))
            os.rename(note + ".new", note)
            while True: time.sleep(60)
        os._exit(0)
    os.wait()
    while not os.path.exists(note): time.sleep(0.01)
"""


def watching(out: Path, *command: object, options: tuple[str, ...] = ()) -> list[str]:
    words = [sys.executable, "-m", "triage.cli", "watch", "--out", str(out), *options, "--"]
    return [*words, *map(str, command)]


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def read_record(out: Path) -> dict:
    return json.loads((out / "hang.json").read_text())


def wait_until(holds: Callable[[], bool], *, timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def find_guards(pid: int) -> list[psutil.Process]:
    """The guard below a watch, once it has started the command."""
    return [
        child
        for child in psutil.Process(pid).children()
        if any(word.endswith("_guard.py") for word in child.cmdline()) and child.children()
    ]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run(out: Path, command: list[str], *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(watching(out, *command, options=options), capture_output=True, timeout=180, check=False)


def test_a_silent_idle_tree_is_a_stall_with_evidence_from_before_the_kill(tmp_path):
    note = tmp_path / "pid"
    code = f"{DAEMON}\nprint('begun', flush=True)\ndaemon(sys.argv[1])\ntime.sleep(300)"
    ended = run(tmp_path, python(code, note), "--stall-s", "2")
    daemon = int(note.read_text())
    assert ended.returncode == 124
    assert ended.stdout == b"begun\n"
    record = read_record(tmp_path)
    assert (record["hung"], record["ending"], record["exit_code"]) == (True, "stalled", 124)
    assert record["returncode"] is None
    assert record["last_progress"]["line"] == "begun"
    assert record["last_progress"]["age_s"] >= 2
    seen = {process["pid"]: process for process in record["processes"]}
    assert seen[daemon]["name"] == "renamed"
    assert len(record["samples"]) == 2
    assert not is_alive(daemon)
    assert record["residue"]["survivors"] == []
    assert b"no sign of life" in ended.stderr


ALIVE = {
    "prints": "import time\nfor n in range(10): print(n, flush=True); time.sleep(0.7)",
    "computes": "import time\nend = time.monotonic() + 7\nwhile time.monotonic() < end: pass",
    "works in pieces": (
        "import time\nend = time.monotonic() + 7\n"
        "while time.monotonic() < end:\n    sum(range(400_000)); time.sleep(0.3)"
    ),
    "reads": (
        "import time\nend = time.monotonic() + 7\n"
        "while time.monotonic() < end:\n    open('/dev/zero', 'rb').read(1 << 20); time.sleep(0.2)"
    ),
    "starts children": (
        "import subprocess, time\nend = time.monotonic() + 7\n"
        "while time.monotonic() < end: subprocess.run(['python3', '-c', 'sum(range(300000))'])"
    ),
}


@pytest.mark.parametrize("name", ALIVE)
def test_a_command_that_does_something_is_not_stalled(tmp_path, name):
    ended = run(tmp_path, python(ALIVE[name]), "--stall-s", "3")
    assert ended.returncode == 0, read_record(tmp_path)["last_progress"]
    assert read_record(tmp_path)["class"] == "none"


IDLE = {
    "polls": "import time\nwhile True: time.sleep(0.05)",
    "says that it waits": (
        "import time\nwhile True:\n"
        "    print('INFO 11-23 15:26:01 [s.py:1] No available shared memory broadcast block found', flush=True)\n"
        "    time.sleep(0.5)"
    ),
}


@pytest.mark.parametrize("name", IDLE)
def test_a_heartbeat_is_no_progress(tmp_path, name):
    ended = run(tmp_path, python(IDLE[name]), "--stall-s", "3", "--timeout-s", "60")
    assert ended.returncode == 124
    assert read_record(tmp_path)["ending"] == "stalled"


def test_a_busy_command_at_its_time_limit_was_slow_and_not_hung(tmp_path):
    ended = run(tmp_path, python("while True: pass"), "--timeout-s", "3")
    assert ended.returncode == 124
    record = read_record(tmp_path)
    assert (record["class"], record["hung"], record["ending"]) == ("slow_progress", False, "time_limit")


def test_a_command_that_goes_on_while_it_is_looked_at_is_not_ended(tmp_path):
    code = "import time\nfor n in range(3): print(n, flush=True); time.sleep(3.2)"
    ended = run(tmp_path, python(code), "--stall-s", "2.5")
    assert (ended.returncode, ended.stdout) == (0, b"0\n1\n2\n")
    assert read_record(tmp_path)["hung"] is False


def test_a_command_that_ends_while_it_is_looked_at_keeps_its_exit_code_and_that_is_said(tmp_path):
    ended = run(tmp_path, ["sh", "-c", "sleep 3; exit 6"], "--stall-s", "2")
    assert ended.returncode == 6
    record = read_record(tmp_path)
    assert (record["ending"], record["returncode"]) == ("exited", 6)
    assert "while it was looked at" in " ".join(record["because"])
    assert record["samples"]


def test_a_daemon_that_a_passing_command_leaves_behind_is_ended_and_named(tmp_path):
    note = tmp_path / "pid"
    ended = run(tmp_path, python(f"{DAEMON}\ndaemon(sys.argv[1])", note))
    assert ended.returncode == 0
    daemon = int(note.read_text())
    assert read_record(tmp_path)["orphans"] == [{"pid": daemon, "name": "renamed"}]
    assert b"renamed" in ended.stderr
    assert not is_alive(daemon)


def start_with_daemon(tmp_path: Path, rest: str) -> tuple[subprocess.Popen, int]:
    note = tmp_path / "pid"
    code = f"{DAEMON}\n{rest}"
    process = subprocess.Popen(watching(tmp_path, *python(code, note)), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert wait_until(note.exists)
    return process, int(note.read_text())


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_watch_that_is_told_to_stop_ends_the_tree_and_passes_its_last_words_on(tmp_path, signum):
    rest = (
        "def clean_up(*_):\n    os.write(1, b'last words'); os._exit(0)\n"
        "signal.signal(signal.SIGTERM, clean_up)\ndaemon(sys.argv[1])\ntime.sleep(300)"
    )
    process, daemon = start_with_daemon(tmp_path, rest)
    with process:
        assert wait_until((tmp_path / "hang.json").exists)
        assert read_record(tmp_path)["ending"] == "running"
        process.send_signal(signum)
        out, err = process.communicate(timeout=90)
    assert process.returncode == 128 + signum, err
    assert out == b"last words"
    assert not is_alive(daemon)
    record = read_record(tmp_path)
    assert (record["ending"], record["exit_code"]) == ("stopped", 128 + signum)
    assert record["processes"]


def test_a_killed_watch_leaves_no_process_and_a_record_that_can_be_read(tmp_path):
    process, daemon = start_with_daemon(tmp_path, "daemon(sys.argv[1])\ntime.sleep(300)")
    with process:
        assert wait_until((tmp_path / "hang.json").exists)
        tree = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert wait_until(lambda: not any(is_alive(child.pid) for child in tree) and not is_alive(daemon))
    assert read_record(tmp_path)["ending"] == "running"


def test_a_killed_guard_is_infrastructure_and_no_result_and_leaves_nothing(tmp_path):
    process, daemon = start_with_daemon(tmp_path, "daemon(sys.argv[1])\ntime.sleep(300)")
    with process:
        time.sleep(2)  # the watch looks at the tree four times a second: nobody else knows of the daemon
        find_guards(process.pid)[0].kill()
        assert process.wait(60) == 3
    assert read_record(tmp_path)["returncode"] is None
    assert wait_until(lambda: not is_alive(daemon))


def test_a_record_holds_no_secret_and_no_home(tmp_path):
    """It lies beside the report and is passed on with it."""
    secret = "a-token-of-somebody"
    command = watching(tmp_path, "sh", "-c", "echo $HF_TOKEN $HOME/x; exit 1", "sh", f"--api-key={secret}", options=())
    subprocess.run(command, env=os.environ | {"HF_TOKEN": secret}, stdout=subprocess.DEVNULL, check=False)
    text = (tmp_path / "hang.json").read_text()
    assert '"--api-key=(not recorded)"' in text
    assert '"line": "(not recorded) ~/x"' in text
    assert secret not in text


def test_a_watch_that_was_itself_stopped_does_not_blame_its_command(tmp_path):
    """Ctrl-Z, a frozen machine: time in which nobody looked is no silence."""
    code = "import time\nfor n in range(6): time.sleep(1); sum(range(1_000_000))\nprint('done')"
    with subprocess.Popen(
        watching(tmp_path, *python(code), options=("--stall-s", "2")), stdout=subprocess.PIPE
    ) as process:
        assert wait_until((tmp_path / "hang.json").exists)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(4)
        os.kill(process.pid, signal.SIGCONT)
        assert process.communicate(timeout=60)[0] == b"done\n"
        assert process.returncode == 0


def test_the_record_holds_every_field_of_the_contract(tmp_path):
    run(tmp_path, ["true"])
    fields = {"hung", "class", "phase", "last_progress", "processes", "gpu", "kernel_log", "not_collected", "orphans"}
    record = read_record(tmp_path)
    assert fields | {"returncode", "duration_s", "schema_version", "versions", "timeline"} <= set(record)
    assert {"line", "age_s"} <= set(record["last_progress"])
    assert record["versions"]["python"]
