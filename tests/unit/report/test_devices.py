"""GPUs, one for each job. There is none here: they are played by the variable that hands them out."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from triage.errors import StorageError
from triage.processes import start_guarded
from triage.report import list_gpus
from triage.report._devices import Gpu, GpuPool

HOLDER = """
import sys, threading, time
from pathlib import Path
from triage.report._devices import Gpu, GpuPool
from triage.processes import start_guarded
with GpuPool([Gpu(index="0", lock="0")], locks=Path(sys.argv[1])).lend(threading.Event()) as device:
    job = start_guarded([sys.executable, "-c", sys.argv[2]], hold=device.hold, grace_s=2)
    print("taken", flush=True)
    time.sleep(60)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


def is_busy(pool: GpuPool) -> bool:
    """Whether a job would have to wait."""
    stop = threading.Event()
    stop.set()
    with pool.lend(stop) as device:
        return device is None


@pytest.fixture
def pool(tmp_path: Path) -> GpuPool:
    return GpuPool([Gpu(index="0", lock="0"), Gpu(index="1", lock="1")], locks=tmp_path / "locks")


@pytest.mark.parametrize(
    ("environ", "indexes"),
    [
        ({"TRIAGE_GPUS": "0,1"}, ["0", "1"]),
        ({"TRIAGE_GPUS": "", "HIP_VISIBLE_DEVICES": "3"}, []),
        ({"HIP_VISIBLE_DEVICES": "2, 3"}, ["2", "3"]),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, ["1"]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
        ({"ROCR_VISIBLE_DEVICES": "4,6"}, ["0", "1"]),
    ],
)
def test_the_variables_that_narrow_a_process_down_name_its_gpus(environ, indexes, tmp_path):
    assert [gpu.index for gpu in list_gpus(environ, root=tmp_path)] == indexes


def test_two_runs_that_count_the_same_gpu_differently_lock_the_same_file():
    [mine] = list_gpus({"ROCR_VISIBLE_DEVICES": "6"})
    yours = list_gpus({"ROCR_VISIBLE_DEVICES": "4,6"})[1]
    assert (mine.index, yours.index) == ("0", "1")
    assert mine.lock == yours.lock == "6"


def test_the_drivers_say_how_many_there_are(tmp_path):
    for number, simds in enumerate([0, 256, 256]):
        node = tmp_path / f"sys/class/kfd/kfd/topology/nodes/{number}"
        node.mkdir(parents=True)
        (node / "properties").write_text(f"cpu_cores_count 8\nsimd_count {simds}\n")
    assert [gpu.index for gpu in list_gpus({}, root=tmp_path)] == ["0", "1"]
    assert list_gpus({}, root=tmp_path / "nothing") == ()


def test_each_job_has_a_gpu_of_its_own_and_is_told_so_in_both_variables(pool):
    stop = threading.Event()
    with pool.lend(stop) as first, pool.lend(stop) as second:
        assert first.env == {"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "0"}
        assert second.env == {"HIP_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "1"}
        assert is_busy(pool)
    assert not is_busy(pool)


def test_a_job_waits_until_another_has_ended(pool):
    stop, order = threading.Event(), []

    def work(name):
        with pool.lend(stop) as device:
            order.append((device.env["HIP_VISIBLE_DEVICES"], name))

    with pool.lend(stop), pool.lend(stop):
        waiting = threading.Thread(target=work, args=("third",))
        waiting.start()
        waiting.join(0.5)
        assert order == []
    waiting.join(30)
    assert [name for _, name in order] == ["third"]


def test_a_job_that_waits_can_be_stopped(pool):
    stop = threading.Event()
    with pool.lend(stop), pool.lend(stop), pool.lend(stop, on_wait=stop.set) as device:
        assert device is None


def test_a_machine_without_gpus_lends_nothing_and_nobody_waits(tmp_path):
    pool = GpuPool((), locks=tmp_path / "locks")
    with pool.lend(threading.Event()) as one, pool.lend(threading.Event()) as two:
        assert one == two
        assert one.env == {}
    assert not (tmp_path / "locks").exists()


def test_a_gpu_is_free_only_when_the_last_process_of_a_killed_run_is_gone(tmp_path):
    """The lock of a run that was killed is held by the guard that is still ending the run's processes."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path), DEAF]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "taken\n"
        pool = GpuPool([Gpu(index="0", lock="0")], locks=tmp_path)
        assert is_busy(pool)
        time.sleep(1)  # the job is deaf to SIGTERM by now: the guard needs its whole grace
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert is_busy(pool)
    deadline = time.monotonic() + 60
    while is_busy(pool):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_command_does_not_see_what_its_guard_holds(tmp_path):
    with (tmp_path / "lock").open("wb") as lock:
        look = "import os, sys; sys.exit(os.path.exists('/proc/self/fd/' + sys.argv[1]))"
        with start_guarded([sys.executable, "-c", look, str(lock.fileno())], hold=[lock.fileno()]) as command:
            assert command.wait(timeout_s=60) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user to be")
def test_users_share_the_locks(pool, tmp_path):
    stop = threading.Event()
    with pool.lend(stop):
        assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777
        for lock in (tmp_path / "locks").iterdir():
            os.chown(lock, 1234, 1234)
        with pool.lend(stop) as second:
            assert second.env["HIP_VISIBLE_DEVICES"] == "1"


def test_a_folder_of_locks_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    pool = GpuPool([Gpu(index="0", lock="0")], locks=tmp_path / "file" / "locks")
    with pytest.raises(StorageError, match="GPU lock"), pool.lend(threading.Event()):
        pass
