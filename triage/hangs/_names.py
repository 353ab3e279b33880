"""The names by which a wait is known: small tables, to be read and mended by people.

A native name is matched whole, without its arguments, and by its last parts: ``hip::hipStreamSynchronize`` is
``hipStreamSynchronize``. A Python name is matched with the end of its file's path. Every group says where it is from.
"""

from __future__ import annotations

import re
from functools import cache

from triage.hangs._sample import Frame

# Waits for a GPU, by native name. CUDA Runtime and Driver API reference ("Device", "Stream", "Event", "Memory
# Management"): all of these return only when the device got there.
_CUDA = """
    cudaDeviceSynchronize cudaThreadSynchronize cudaStreamSynchronize cudaEventSynchronize cudaMemcpy cudaFree
    cuCtxSynchronize cuStreamSynchronize cuEventSynchronize cuMemcpyDtoH_v2 cuMemcpyHtoD_v2 cuMemFree_v2
"""
# The same in HIP (HIP Runtime API reference). `.item()` and `.cpu()` of PyTorch end in hipMemcpyWithStream
# (c10/hip/HIPFunctions.h, memcpy_and_sync).
_HIP = """
    hipDeviceSynchronize hipStreamSynchronize hipStreamSynchronize_spt hipEventSynchronize hipMemcpy hipMemcpyWithStream
    hipMemcpyDtoH hipMemcpyHtoD hipFree hipHostFree hipStreamSynchronize_common ihipFree hip::Stream::SyncAllStreams
"""
# Below HIP: clr's host queue (rocclr/platform/commandqueue.cpp, rocclr/device/rocm/rocvirtual.hpp) and ROCr
# (hsa_signal_wait_*, core/runtime/*signal.cpp), as in the stacks of rocm-libraries #8847, AMDGPU.jl #537.
_ROCR = """
    hsa_signal_wait_scacquire hsa_signal_wait_relaxed hsa_signal_wait_acquire hsa_amd_signal_wait_any
    rocr::core::InterruptSignal::WaitRelaxed rocr::core::InterruptSignal::WaitAcquire
    rocr::core::BusyWaitSignal::WaitRelaxed rocr::core::BusyWaitSignal::WaitAcquire rocr::core::Signal::WaitAny
    hsaKmtWaitOnEvent hsaKmtWaitOnEvent_Ext hsaKmtWaitOnMultipleEvents hsaKmtWaitOnMultipleEvents_Ext
    amd::HostQueue::finish amd::Event::awaitCompletion amd::Command::awaitCompletion roc::WaitForSignal
    roc::Device::IsHwEventReady roc::VirtualGPU::HwQueueTracker::CpuWaitForSignal
"""
DEVICE_WAITS = frozenset(f"{_CUDA} {_HIP} {_ROCR}".split())

# Waits for a GPU, by Python function: torch/cuda/__init__.py, torch/cuda/streams.py, torch/accelerator. HIP goes by
# the name of torch.cuda too.
PYTHON_DEVICE_WAITS = frozenset(
    {
        ("synchronize", "torch/cuda/__init__.py"),
        ("synchronize", "torch/cuda/streams.py"),
        ("synchronize", "torch/accelerator/__init__.py"),
    }
)

# Threads of the runtime that wait for the GPU all their life: ROCr's event thread, clr's queue and callback threads.
RUNTIME_THREADS = frozenset({"rocr::core::Runtime::AsyncEventsLoop", "amd::HostQueue::loop", "amd::CommandQueue::loop"})

# Where a program is after its last line. CPython: Lib/threading.py, Lib/multiprocessing/util.py,
# Lib/concurrent/futures/{thread,process}.py; Python/pylifecycle.c; exit(3).
SHUTDOWN = frozenset(
    {
        ("_shutdown", "threading.py"),
        ("_exit_function", "multiprocessing/util.py"),
        ("_python_exit", "concurrent/futures/thread.py"),
        ("_python_exit", "concurrent/futures/process.py"),
    }
)
NATIVE_SHUTDOWN = frozenset(
    {"Py_FinalizeEx", "_Py_Finalize", "wait_for_thread_shutdown", "atexit_callfuncs", "__run_exit_handlers"}
)

# A wait for another rank. PyTorch: torch/distributed/distributed_c10d.py, c10d/Work.cpp; gloo/transport.
COLLECTIVE_FILES = ("torch/distributed/distributed_c10d.py",)
COLLECTIVE_PREFIXES = ("c10d::Work::wait", "gloo::")

# A wait for another process of the same program, whatever the kernel calls it.
# CPython: Lib/multiprocessing/connection.py (pipes, socket pairs and sentinels), Lib/subprocess.py; pytest-xdist:
# xdist/dsession.py, which asks its queue for news of the workers every two seconds.
PEER_WAITS = frozenset(
    {
        ("_recv", "multiprocessing/connection.py"),
        ("_send", "multiprocessing/connection.py"),
        ("wait", "multiprocessing/connection.py"),
        ("_communicate", "subprocess.py"),
        ("loop_once", "xdist/dsession.py"),
    }
)

# An event loop that waits for its next event (Lib/asyncio/base_events.py).
LOOPS = frozenset({("_run_once", "asyncio/base_events.py")})

# Processes and threads that only serve others: they wait all their life.
# CPython: Lib/multiprocessing/{resource_tracker,forkserver}.py.
SERVANTS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
# tqdm/_monitor.py; vllm/usage/usage_lib.py; pytest-rerunfailures, which listens for crashed workers of xdist.
SERVANT_THREADS = frozenset(
    {
        ("run", "tqdm/_monitor.py"),
        ("_report_continuous_usage", "vllm/usage/usage_lib.py"),
        ("run_server", "pytest_rerunfailures.py"),
        ("run_connection", "pytest_rerunfailures.py"),
    }
)
# Threads of a library that move the data of others, by the name that it gives them: gloo (transport/tcp/loop.cc),
# PyTorch (distributed/c10d/ProcessGroupGloo.cpp), ZeroMQ (src/thread.cpp).
SERVANT_NAMES = ("gloo_tcp_loop", "pt_gloo_runloop", "ZMQbg/")

# The system call behind a wchan, for where the call itself cannot be read (fs/pipe.c, kernel/futex, kernel/exit.c, …).
WCHAN_CALLS = {
    "futex_do_wait": "futex",
    "futex_wait_queue": "futex",
    "futex_wait_queue_me": "futex",
    "do_wait": "wait4",
    "anon_pipe_read": "read",
    "pipe_read": "read",
    "anon_pipe_write": "write",
    "pipe_write": "write",
    "hrtimer_nanosleep": "clock_nanosleep",
    "do_nanosleep": "clock_nanosleep",
    "ep_poll": "epoll_wait",
    "do_epoll_wait": "epoll_wait",
    "do_sys_poll": "poll",
    "poll_schedule_timeout": "poll",
    "do_select": "select",
    "wait_for_partner": "openat",
    "locks_lock_inode_wait": "flock",
    "flock_lock_inode_wait": "flock",
    "inet_csk_accept": "accept",
    "sk_wait_data": "recvfrom",
    "wait_woken": "recvfrom",
    "unix_stream_read_generic": "recvfrom",
    "unix_stream_data_wait": "recvfrom",
}

# What stands for the stacks of a program that has none of Python.
NOT_PYTHON = "no Python interpreter in it"

GPU_FILES = ("/dev/kfd", "/dev/dri/render", "/dev/nvidia")

_ARGUMENTS = re.compile(r"\(.*|\s*\[clone.*|@.*")
_TEMPLATE = re.compile(r"<[^<>]*>")


@cache
def bare_name(function: str) -> str:
    """A native name without arguments, template values and version.

    >>> bare_name("roc::WaitForSignal<false>(hsa_signal_s)"), bare_name("hipFree@@hip_4.2")
    ('roc::WaitForSignal', 'hipFree')
    """
    name = _ARGUMENTS.sub("", function)
    while (shorter := _TEMPLATE.sub("", name)) != name:
        name = shorter
    return name.strip().rpartition(" ")[2]


def is_named(frame: Frame, names: frozenset[str]) -> bool:
    """Whether a native frame is one of the names, in whatever namespace."""
    if not frame.native:
        return False
    name = bare_name(frame.function)
    return name in names or any(name.endswith(f"::{known}") for known in names if "::" not in known)


def is_placed(frame: Frame, places: frozenset[tuple[str, str]]) -> bool:
    """Whether a Python frame is one of the (function, end of path) pairs.

    >>> is_placed(Frame(function="Event.wait", file="/usr/lib/threading.py"), frozenset({("wait", "threading.py")}))
    True
    """
    if frame.native:
        return False
    function = frame.function.rpartition(".")[2]
    return any(function == name and f"/{frame.file}".endswith(f"/{file}") for name, file in places)
