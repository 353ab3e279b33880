"""Made-up evidence of a thread that waits for a GPU, for machines without one. A real one is in tests/gpu."""

from __future__ import annotations

from triage.hangs import Evidence, Frame, GpuHolder, GpuReading, GpuSample, OpenFile, Process, Sample, Thread

MAIN, WORKER = 100, 101
PROGRAM = Frame(function="<module>", file="serve.py", line=7)
# As py-spy shows a host that waits for a hung kernel: on HIP, and on CUDA.
HIP = (
    Frame(function="__clock_gettime", file="libc.so.6", native=True),
    Frame(function="rocr::core::InterruptSignal::WaitRelaxed", file="libhsa-runtime64.so.1", native=True),
    Frame(function="rocr::HSA::hsa_signal_wait_scacquire", file="libhsa-runtime64.so.1", native=True),
    Frame(function="amd::HostQueue::finish(bool)", file="libamdhip64.so", native=True),
    Frame(function="hip::hipDeviceSynchronize()", file="libamdhip64.so", native=True),
    Frame(function="synchronize", file="torch/cuda/__init__.py", line=1083),
    PROGRAM,
)
CUDA = (
    Frame(function="clock_gettime", file="libc.so.6", native=True),
    Frame(function="0x7f12", file="libcuda.so.1", native=True),
    Frame(function="cuCtxSynchronize", file="libcuda.so.1", native=True),
    Frame(function="cudaDeviceSynchronize", file="libcudart.so.12", native=True),
    Frame(function="synchronize", file="torch/cuda/__init__.py", line=1083),
    PROGRAM,
)
ITEM = (
    Frame(function="hipMemcpyWithStream", file="libamdhip64.so", native=True),
    Frame(function="at::native::_local_scalar_dense_cuda", file="libtorch_hip.so", native=True),
    PROGRAM,
)
PYTHON_ONLY = (Frame(function="Stream.synchronize", file="torch/cuda/streams.py", line=105), PROGRAM)
JOIN = (
    Frame(function="PyThread_acquire_lock_timed", file="libpython3.12.so.1.0", native=True),
    Frame(function="Thread.join", file="threading.py", line=1149),
    PROGRAM,
)
SHUTDOWN = (Frame(function="_shutdown", file="threading.py", line=1590),)
EVENTS = (
    Frame(function="hsaKmtWaitOnMultipleEvents_Ext", file="libhsa-runtime64.so.1", native=True),
    Frame(function="rocr::core::Runtime::AsyncEventsLoop(void*)", file="libhsa-runtime64.so.1", native=True),
)


def make_evidence(
    frames: tuple[Frame, ...] = HIP,
    *,
    utilisation: tuple[float | None, ...] = (100.0,),
    second_utilisation: tuple[float | None, ...] | None = None,
    state: str = "R",
    main: tuple[Frame, ...] | None = None,
    others: tuple[int, ...] = (),
) -> Evidence:
    """Two samples of one process: its main thread waits for the GPU, or for a worker that does, where ``main`` is."""

    def take(at_s: float, percents: tuple[float | None, ...]) -> Sample:
        tid = MAIN if main is None else WORKER
        burnt_s = at_s if state == "R" else 1.0
        waiting = Thread(tid=tid, name="waits", state=state, cpu_s=burnt_s, holds_gil=False, frames=frames)
        joining = Thread(
            tid=MAIN, name="MainThread", state="S", cpu_s=0.5, wchan="futex_do_wait",
            syscall="futex(0x7f10, for ever)", holds_gil=False, frames=main or (),
        )  # fmt: skip
        events = Thread(tid=199, name="python3", state="S", cpu_s=0.0, syscall="ioctl(5)", frames=EVENTS)
        process = Process(
            pid=MAIN, ppid=1, name="VLLM::EngineCor", command=("python3",), state="S" if main else state,
            cpu_s=burnt_s, rss_bytes=1, start_ticks=5,
            threads=(waiting, events) if main is None else (joining, waiting, events),
            files=(OpenFile(fd=1, target="/dev/null"), OpenFile(fd=5, target="/dev/kfd", mode="rw")),
            stack_source="py-spy --native",
        )  # fmt: skip
        readings = tuple(GpuReading(index=i, utilisation_percent=p) for i, p in enumerate(percents))
        holders = tuple(GpuHolder(pid=pid, name="python3") for pid in (MAIN, *others))
        gpu = GpuSample(source="amd-smi", readings=readings, holders=holders)
        return Sample(at_s=at_s, processes=(process,), gpu=gpu)

    return Evidence(samples=(take(10.0, utilisation), take(12.0, second_utilisation or utilisation)))
