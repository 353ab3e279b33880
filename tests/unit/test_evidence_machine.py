"""What the machine says: memory and kills for want of it, dumps of devices, the kernel's log, and what stays behind."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.evidence_programs import Programs
from triage.hangs import (
    Leftover,
    NotCollected,
    collect_evidence,
    read_baseline,
    read_listening_ports,
    read_residue,
)
from triage.hangs import _kernel as kernel
from triage.hangs._kernel import read_kernel_log, read_log_time
from triage.hangs._machine import find_cgroups, read_limit, read_memory

EAT = "import sys\nheld = []\nwhile True: held.append(bytearray(b'x' * (1 << 20)))"
CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))


@pytest.fixture
def programs() -> Iterator[Programs]:
    programs = Programs()
    yield programs
    programs.end()


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup with a limit of 64 MiB."""
    root = next(root for root in CGROUPS if root.is_dir()) if Path("/sys/fs/cgroup").is_dir() else Path("/none")
    folder = root / f"triage-test-{os.getpid()}"
    try:
        folder.mkdir()
        limit = next(folder / name for name in ("memory.max", "memory.limit_in_bytes") if (folder / name).exists())
        limit.write_text(str(64 << 20))
    except (OSError, StopIteration) as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield folder
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return


def run_inside(cgroup: Path, source: str) -> subprocess.Popen[bytes]:
    enter = f"open({str(cgroup / 'cgroup.procs')!r}, 'w').write('0')\n"
    return subprocess.Popen([sys.executable, "-c", enter + source], stdout=subprocess.PIPE)


def write_devcoredump(root: Path, number: int, data: bytes) -> None:
    """As the kernel shows it: the dump in its own class, and a link to it beside the card."""
    dump = root / f"sys/class/devcoredump/devcd{number}"
    dump.mkdir(parents=True)
    (dump / "data").write_bytes(data)
    device = root / "sys/class/drm/card0/device"
    device.mkdir(parents=True, exist_ok=True)
    (device / "devcoredump").unlink(missing_ok=True)
    (device / "devcoredump").symlink_to(dump)


def test_a_kill_for_want_of_memory_is_counted(small_cgroup: Path) -> None:
    baseline = read_baseline()
    with run_inside(small_cgroup, EAT) as process:
        assert process.wait(60) == -9
    memory = read_memory([], baseline)
    assert memory["oom_kills"] >= 1
    evidence = collect_evidence(list, folder=small_cgroup, clock=time.monotonic, baseline=baseline)
    if not [item for item in evidence.not_collected if item.what == "kernel log"]:
        assert [line for line in evidence.kernel_log if f"Killed process {process.pid}" in line]


def test_the_limit_of_the_tree_s_own_cgroup_is_read(small_cgroup: Path) -> None:
    with run_inside(small_cgroup, "import time; print(flush=True); time.sleep(300)") as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = read_memory([process.pid], read_baseline())
        process.kill()
    assert memory["cgroup_limit_bytes"] == 64 << 20
    assert 0 < memory["cgroup_used_bytes"] <= 64 << 20
    assert memory["oom_kills_in_cgroup"] == 0


def test_the_lowest_limit_above_a_cgroup_counts(tmp_path: Path) -> None:
    inner = tmp_path / "slurm/job/step"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "memory.max").write_text("1000\n")
    (inner.parents[1] / "memory.max").write_text("2000\n")
    assert read_limit(inner) == 1000


def test_this_process_has_a_memory_cgroup_that_can_be_read_or_none() -> None:
    assert all(folder.is_dir() for folder in find_cgroups([os.getpid()]))


def test_kills_of_before_are_not_counted() -> None:
    baseline = read_baseline()
    assert read_memory([os.getpid()], baseline).get("oom_kills", 0) == 0


def test_a_dump_of_a_device_is_copied_whole(tmp_path: Path) -> None:
    baseline = read_baseline(root=tmp_path)
    write_devcoredump(tmp_path, 1, b"ring gfx_0.0.0 timeout" * 100_000)
    evidence = collect_evidence(list, folder=tmp_path / "out", clock=time.monotonic, baseline=baseline, root=tmp_path)
    assert evidence.devcoredumps == ("devcoredump-devcd1",)
    assert (tmp_path / "out/devcoredump-devcd1").read_bytes() == b"ring gfx_0.0.0 timeout" * 100_000


def test_a_dump_that_was_there_before_is_another_command_s(tmp_path: Path) -> None:
    write_devcoredump(tmp_path, 1, b"old")
    baseline = read_baseline(root=tmp_path)
    evidence = collect_evidence(list, folder=tmp_path / "out", clock=time.monotonic, baseline=baseline, root=tmp_path)
    assert evidence.devcoredumps == ()
    why = "it was there before the command began"
    assert NotCollected(what="devcoredump devcd1", why=why) in evidence.not_collected


def test_a_huge_dump_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_DUMP_BYTES", 10)
    write_devcoredump(tmp_path, 2, b"x" * 100)
    evidence = collect_evidence(list, folder=tmp_path / "out", clock=time.monotonic, root=tmp_path)
    assert (tmp_path / "out" / evidence.devcoredumps[0]).stat().st_size == 10
    assert any("cut" in item.why for item in evidence.not_collected if item.what == "devcoredump devcd2")


def test_a_dump_that_cannot_be_written_is_missing_evidence(tmp_path: Path) -> None:
    write_devcoredump(tmp_path, 1, b"new")
    (tmp_path / "file").touch()
    evidence = collect_evidence(list, folder=tmp_path / "file", clock=time.monotonic, root=tmp_path)
    assert evidence.devcoredumps == ()
    assert [item.what for item in evidence.not_collected if "devcoredump" in item.what] == ["devcoredump devcd1"]


def test_only_lines_of_the_kernel_since_the_beginning_are_kept(tmp_path: Path) -> None:
    began = read_log_time()
    if began is None:
        pytest.skip("the kernel's log may not be read here")
    try:
        Path("/dev/kmsg").write_text("<4>triage-test: amdgpu: GPU reset begin!\n")
    except OSError as error:
        pytest.skip(f"nothing can be written to the kernel's log here: {error}")
    assert [line for line in read_kernel_log(began) if line.endswith("triage-test: amdgpu: GPU reset begin!")]
    now = read_log_time()
    assert now is not None
    assert not [line for line in read_kernel_log(now) if "triage-test" in line]


def test_a_log_that_repeats_itself_keeps_its_beginning_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"<6>[{number}.000000][  T70] line {number}" for number in range(10_000)]
    monkeypatch.setattr(kernel, "_read_log", lambda _: "\n".join(lines))
    kept = read_kernel_log(99.0)
    assert (kept[0], kept[500], kept[-1]) == (
        "[100.000000] line 100",
        "(8900 lines left out)",
        "[9999.000000] line 9999",
    )


def test_a_log_that_may_not_be_read_is_missing_with_the_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(size: int) -> str:
        raise PermissionError(1, "Operation not permitted")

    readable = read_baseline()
    monkeypatch.setattr(kernel, "_read_log", refuse)
    for baseline in (readable, read_baseline()):
        if baseline.kernel_log_s is None and baseline is readable:
            continue  # it may not be read here at all: the second one shows the same
        evidence = collect_evidence(list, folder=tmp_path, clock=time.monotonic, baseline=baseline)
        [why] = [item.why for item in evidence.not_collected if item.what == "kernel log"]
        assert "Operation not permitted" in why or "CAP_SYSLOG" in why
        assert evidence.kernel_log == ()


def test_without_a_baseline_old_lines_of_the_kernel_blame_nobody(tmp_path: Path) -> None:
    evidence = collect_evidence(list, folder=tmp_path, clock=time.monotonic)
    assert evidence.kernel_log == ()
    assert NotCollected(what="kernel log", why="when the command began is not known") in evidence.not_collected


def test_shared_memory_that_nobody_holds_is_residue() -> None:
    baseline = read_baseline()
    path = Path(f"/dev/shm/triage-test-{os.getpid()}")
    path.write_bytes(b"x" * 100)
    try:
        left = read_residue(baseline).shm
        assert left is not None
        assert left[str(path)] == 100
        with path.open():
            held = read_residue(baseline).shm
            assert held is not None
            assert str(path) not in held  # this process holds it, and is none of the tree
            of_the_tree = read_residue(baseline, pids=[os.getpid()]).shm
            assert of_the_tree is not None
            assert str(path) in of_the_tree
    finally:
        path.unlink()


def test_a_port_that_is_still_taken_is_residue(programs: Programs) -> None:
    pid = programs.start(
        "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\nprint('ready', flush=True)\ntime.sleep(300)"
    )
    [port] = read_listening_ports([pid])
    with socket.create_connection(("127.0.0.1", port)):
        assert read_residue(read_baseline(), ports=[port]).ports == (port,)
        assert read_listening_ports([os.getpid()]) == frozenset()  # connected is not listening
    programs.end()
    assert read_residue(read_baseline(), ports=[port]).ports == ()


def test_gpu_memory_that_is_not_given_back_is_residue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triage.hangs._residue._SETTLE_S", 0.1)
    device = tmp_path / "sys/class/drm/card0/device"
    device.mkdir(parents=True)
    for name, value in (("gpu_busy_percent", 0), ("mem_info_vram_total", 1 << 38), ("mem_info_vram_used", 1 << 30)):
        (device / name).write_text(f"{value}\n")
    baseline = read_baseline(root=tmp_path)
    assert read_residue(baseline, root=tmp_path).vram_bytes == 0
    (device / "mem_info_vram_used").write_text(f"{3 << 30}\n")
    assert read_residue(baseline, root=tmp_path).vram_bytes == 2 << 30


def test_survivors_are_named() -> None:
    survivor = Leftover(pid=4711, name="VLLM::EngineCor")
    assert read_residue(read_baseline(), survivors=[survivor]).survivors == (survivor,)
