"""What a watched command prints and returns is what it prints and returns without a watch."""

import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from triage.errors import InputError
from triage.hangs import Ending, watch_command

RANDOM = """
import os, random, sys
source = random.Random(7)
for _ in range(int(sys.argv[1])):
    os.write(1, source.randbytes(1 << 20))
"""


def watching(out: Path, *command: object, options: tuple[str, ...] = ()) -> list[str]:
    words = [sys.executable, "-m", "triage.cli", "watch", "--out", str(out), *options, "--"]
    return [*words, *map(str, command)]


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def read_record(out: Path) -> dict:
    return json.loads((out / "hang.json").read_text())


def run(out: Path, *command: object, options: tuple[str, ...] = (), **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        watching(out, *command, options=options), capture_output=True, timeout=120, check=False, **kwargs
    )


def test_fifty_megabytes_pass_byte_for_byte_through_a_pipe(tmp_path):
    command = python(RANDOM, 50)
    bare = hashlib.sha256(subprocess.run(command, capture_output=True, check=True).stdout).hexdigest()
    watched = run(tmp_path, *command)
    assert hashlib.sha256(watched.stdout).hexdigest() == bare
    assert (watched.returncode, watched.stderr) == (0, b"")


def test_a_file_that_is_appended_to_keeps_what_it_had_and_takes_both_streams_in_order(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    code = "import os\nfor n in range(5000): os.write(1 + n % 2, b'%d\\n' % n)"
    with log.open("ab") as stream:
        subprocess.run(watching(tmp_path, *python(code)), stdout=stream, stderr=stream, check=True)
    assert log.read_text().split() == ["before", *map(str, range(5000))]
    assert read_record(tmp_path)["last_progress"]["line"] == "4999"


def test_both_streams_keep_their_order_in_one_pipe(tmp_path):
    code = "import os\nfor n in range(5000): os.write(1 + n % 2, b'%d\\n' % n)"
    ended = subprocess.run(
        watching(tmp_path, *python(code)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    assert ended.stdout.split() == [b"%d" % n for n in range(5000)]


def test_two_streams_that_go_to_two_places_stay_apart(tmp_path):
    ended = run(tmp_path, "sh", "-c", "echo out; echo err >&2")
    assert (ended.stdout, ended.stderr) == (b"out\n", b"err\n")


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_the_exit_code_passes_through(tmp_path, code):
    assert run(tmp_path, "sh", "-c", f"exit {code}").returncode == code
    assert read_record(tmp_path)["returncode"] == code
    assert read_record(tmp_path)["hung"] is False


@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_death_by_a_signal_is_128_and_its_number(tmp_path, signum):
    ended = run(tmp_path, *python("import os, sys; os.kill(os.getpid(), int(sys.argv[1]))", int(signum)))
    assert ended.returncode == 128 + signum
    record = read_record(tmp_path)
    assert (record["returncode"], record["ending"]) == (-signum, "exited")
    assert (record["class"] == "crashed") or signum == signal.SIGKILL  # by whom is another question


def test_standard_input_is_the_commands_own(tmp_path):
    assert run(tmp_path, "cat", input=b"given").stdout == b"given"


def test_a_reader_that_goes_away_is_noticed_as_without_a_watch(tmp_path):
    with subprocess.Popen(watching(tmp_path, "yes"), stdout=subprocess.PIPE) as watched:
        assert watched.stdout.read(4) == b"y\ny\n"
        watched.stdout.close()
        assert watched.wait(60) == 128 + signal.SIGPIPE


def test_a_reader_that_is_slow_loses_nothing(tmp_path):
    with subprocess.Popen(watching(tmp_path, *python(RANDOM, 8)), stdout=subprocess.PIPE) as watched:
        time.sleep(2.0)  # all pipes are full by now
        data = b"".join(iter(lambda: watched.stdout.read(1 << 16), b""))
        assert watched.wait(60) == 0
    assert data == subprocess.run(python(RANDOM, 8), capture_output=True, check=True).stdout


def test_the_time_limit_holds_although_nobody_reads(tmp_path):
    with subprocess.Popen(
        watching(tmp_path, "yes", options=("--timeout-s", "2", "--stall-s", "3")), stdout=subprocess.PIPE
    ) as watched:
        assert watched.wait(90) == 124
    assert read_record(tmp_path)["ending"] == "time_limit"


def test_a_command_that_waits_for_a_slow_reader_is_not_stalled(tmp_path):
    with subprocess.Popen(
        watching(tmp_path, "head", "-c", "4000000", "/dev/zero", options=("--stall-s", "2")), stdout=subprocess.PIPE
    ) as watched:
        time.sleep(5.0)
        assert len(watched.stdout.read()) == 4_000_000
        assert watched.wait(60) == 0


def test_a_socket_takes_the_output_too(tmp_path):
    import socket
    import threading

    ours, theirs = socket.socketpair()
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(iter(lambda: ours.recv(1 << 16), b"")))
    reader.start()
    with ours:
        with theirs:
            subprocess.run(watching(tmp_path, *python(RANDOM, 3)), stdout=theirs.fileno(), check=True)
        reader.join(60)
    assert b"".join(received) == subprocess.run(python(RANDOM, 3), capture_output=True, check=True).stdout


def run_in_terminal(command: list[str]) -> tuple[bytes, int]:
    """A command with a terminal of 91 columns on all its streams; what it showed, and its exit code."""
    ours, its = pty.openpty()
    attributes = termios.tcgetattr(its)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(its, termios.TCSANOW, attributes)
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 91, 0, 0))
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # the last one has closed it
        pass
    os.close(ours)
    return shown, process.wait(60)


def test_a_terminal_stays_a_terminal_with_its_size_and_no_byte_is_changed(tmp_path):
    code = (
        "import os, sys\nsize = os.get_terminal_size()\n"
        "print(sys.stdout.isatty(), sys.stderr.isatty(), size.columns, size.lines)\nsys.stdout.flush()\n"
        "os.write(2, bytes(range(1, 256)))"
    )
    shown, exit_code = run_in_terminal(watching(tmp_path, *python(code)))
    assert shown == b"True True 91 33\n" + bytes(range(1, 256))
    assert exit_code == 0


def test_a_new_size_of_the_terminal_reaches_the_command(tmp_path):
    code = (
        "import os, signal, sys\n"
        "def tell(*_):\n    print('columns', os.get_terminal_size(1).columns, flush=True); os._exit(5)\n"
        "signal.signal(signal.SIGWINCH, tell)\nprint('ready', flush=True)\nwhile True: signal.pause()"
    )
    ours, its = pty.openpty()
    with subprocess.Popen(watching(tmp_path, *python(code)), stdin=its, stdout=its, stderr=its) as process:
        shown = b""
        while b"ready" not in shown:
            shown += os.read(ours, 4096)
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 57, 0, 0))
        process.send_signal(signal.SIGWINCH)
        while b"columns 57" not in shown:
            shown += os.read(ours, 4096)
        assert process.wait(60) == 5
    os.close(its)
    os.close(ours)


def test_the_phases_of_a_start_are_timed_as_its_lines_pass(tmp_path):
    lines = [
        "INFO 11-23 15:26:01 [api_utils.py:286] non-default args: {}",
        "INFO 11-23 15:26:09 [cpu_model_runner.py:68] Starting to load model m...",
        "INFO 11-23 15:26:11 [cpu_model_runner.py:87] Warming up model for the compilation...",
    ]
    code = "import sys, time\nfor line in sys.argv[1:]: print(line, flush=True); time.sleep(0.4)"
    assert run(tmp_path, *python(code, *lines)).returncode == 0
    record = read_record(tmp_path)
    assert [mark["phase"] for mark in record["phases"]] == ["import", "config", "weights", "profile"]
    assert record["phase"] == "profile"
    times = [mark["at_s"] for mark in record["phases"]]
    assert times[2] - times[1] >= 0.3
    assert times[3] - times[2] >= 0.3
    assert sum(tick["output_bytes"] for tick in record["timeline"][-1:]) <= sum(len(line) + 1 for line in lines)


def test_an_awaited_phase_ends_the_command_and_is_no_fault(tmp_path):
    code = (
        "import time\nprint('INFO 11-23 15:26:01 [a.py:1] Application startup complete.', flush=True)\ntime.sleep(99)"
    )
    with (tmp_path / "log").open("wb") as log:
        record = watch_command(
            python(code), out=tmp_path, until="ready", stdout=log.fileno(), stderr=log.fileno(), timeout_s=60
        )
    assert (record.ending, record.exit_code, record.hung, record.phase) == (Ending.REACHED, 0, False, "ready")


# Bad input


@pytest.mark.parametrize(
    ("options", "command", "sentence"),
    [
        ((), [], "There is no command to watch"),
        ((), ["no-such-command-here"], "no command 'no-such-command-here' in PATH"),
        ((), ["/no/such/command"], "no command '/no/such/command'"),
        ((), ["/etc"], "is a folder, not a command"),
        ((), ["PLAIN"], "may not be run"),
        ((), ["NAMELESS"], "does not name the program that runs it. Begin it with #!/bin/sh"),
        ((), ["ASTRAY"], "names /no/such/python to run it, which is not there"),
        (("--stall-s", "-1"), ["touch", "FILE"], "stall limit is -1"),
        (("--stall-s", "nan"), ["touch", "FILE"], "stall limit is nan"),
        (("--stall-s", "inf"), ["touch", "FILE"], "stall limit is inf"),
        (("--timeout-s", "0"), ["touch", "FILE"], "time limit is 0"),
        (("--timeout-s", "soon"), ["touch", "FILE"], "Invalid value for '--timeout-s'"),
        (("--no-such-option",), ["touch", "FILE"], "no-such-option"),
    ],
)
def test_a_bad_call_is_one_sentence_and_nothing_starts(tmp_path, options, command, sentence):
    places = {"FILE": str(tmp_path / "started")}
    for name, text in {"PLAIN": "no program", "NAMELESS": "exit 0\n", "ASTRAY": "#!/no/such/python -I\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644 if name == "PLAIN" else 0o755)
        places[name] = str(tmp_path / name)
    words = [places.get(word, word) for word in command]
    ended = run(tmp_path / "out", *words, options=options)
    assert ended.returncode == 2
    told = re.sub(r"\s+", " ", ended.stderr.decode())
    assert sentence in told
    assert "Traceback" not in told
    assert not (tmp_path / "started").exists()
    assert ended.stdout == b""


def test_a_command_is_looked_for_in_the_path_that_it_is_given(tmp_path):
    with pytest.raises(InputError, match="no command 'true' in PATH"):
        watch_command(["true"], out=tmp_path, env={"PATH": str(tmp_path)})


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    ended = run(tmp_path / "file", "touch", tmp_path / "started")
    assert (ended.returncode, (tmp_path / "file").read_text()) == (2, "mine")
    assert b"is a file, not a folder" in ended.stderr
    assert not (tmp_path / "started").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB; skipped where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_refused_before_anything_starts(small_disk, tmp_path):
    (small_disk / "filler").write_bytes(b"x" * 64 * 1024)
    ended = run(small_disk / "out", "touch", tmp_path / "started")
    assert ended.returncode == 2
    assert b"No space left on device" in ended.stderr
    assert not (tmp_path / "started").exists()


def test_a_disk_that_fills_up_later_costs_the_record_and_not_the_command(small_disk):
    code = "import sys\ntry: open(sys.argv[1], 'wb').write(b'x' * (1 << 20))\nexcept OSError: pass\nprint('passed')"
    ended = run(small_disk, *python(code, small_disk / "filler"))
    assert (ended.returncode, ended.stdout) == (0, b"passed\n")
    assert ended.stderr.count(b"cannot be written") == 1
    assert read_record(small_disk)["ending"] == "running"  # what was last written, and whole


def test_a_read_only_folder_is_refused(tmp_path):
    if os.geteuid() == 0:
        folder = Path("/proc/self")
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o555)
    ended = run(folder / "out", "touch", tmp_path / "started")
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
    assert not (tmp_path / "started").exists()


def test_without_out_the_record_goes_to_a_folder_of_its_own_and_nothing_is_said_of_a_healthy_run(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "triage.cli", "watch", "--", "true"], cwd=tmp_path, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    [record] = tmp_path.glob("triage-watch/*/hang.json")
    assert json.loads(record.read_text())["class"] == "none"


def test_the_short_way_loads_no_typer_and_the_long_way_says_the_same(tmp_path):
    code = (
        "import sys\nfrom triage.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as end: code = end.code\n"
        "heavy = {'typer', 'pydantic', 'rich', 'pandas'} & set(sys.modules)\n"
        "print(code, sorted(heavy))"
    )
    arguments = ["watch", "--out", str(tmp_path), "--", "sh", "-c", "exit 3"]
    short = subprocess.run(python(code, *arguments), capture_output=True, text=True, check=True)
    assert short.stdout == "3 []\n"
    code = "import sys\nfrom triage.cli._app import run_app\nprint(run_app(sys.argv[1:]))"
    long = subprocess.run(python(code, *arguments), capture_output=True, text=True, check=True)
    assert long.stdout == "3\n"
