"""The same work on many nodes: tasks as Slurm jobs, submitted through submitit, followed until each has ended.

A task writes its own result to the shared folder, whole or not at all; whether it is there is asked of the caller. A
job that is gone without a result was lost. What is submitted stands in ``jobs.json``, so that another driver can go on.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage.errors import TriageError
from triage.files import make_folder, write_atomic
from triage.fleet._options import SlurmOptions
from triage.fleet._slurm import Job, SlurmError, cancel_jobs, read_jobs

_LOOK_EVERY_S = 0.5
_PATIENCE_S = 120.0  # with a Slurm that does not answer, while jobs run
_JOBS, _SUBMITTED = "jobs.json", "submitit"


class CancelledError(TriageError):
    """The driver was told to stop; its jobs have been cancelled."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True)
class Task:
    """One job: its name, what its function is given, and how many times the fleet's time limit it may need."""

    name: str
    argument: Any
    length: int = 1


class Fleet:
    """Jobs of one driver in one shared folder.

    ``settle_s`` is how long after a job's end its result may take to be seen here: shared folders are slow to tell.
    """

    def __init__(self, folder: Path, options: SlurmOptions, *, name: str = "triage", settle_s: float = 5.0) -> None:
        self._folder = make_folder(folder.absolute())
        self._options = options
        self._name = name
        self._settle_s = settle_s
        self._tasks: dict[str, Task] = {}
        self._jobs: dict[str, str] = {}
        self._read_record()
        self._silent_since: float | None = None

    def _read_record(self) -> None:
        """What an earlier driver submitted."""
        path = self._folder / _JOBS
        if path.exists():
            for name, fields in json.loads(path.read_text(encoding="utf-8")).items():
                self._jobs[name] = fields.pop("job")
                self._tasks[name] = Task(name=name, **fields)

    def _write_record(self) -> None:
        record = {
            name: {"job": job, "argument": self._tasks[name].argument, "length": self._tasks[name].length}
            for name, job in self._jobs.items()
        }
        write_atomic(self._folder / _JOBS, json.dumps(record, indent=1))

    def list_running(self) -> list[Task]:
        """The tasks whose jobs, of an earlier driver say, Slurm still has. Raises `SlurmError`."""
        known = read_jobs(self._jobs.values())
        return [self._tasks[name] for name, job in self._jobs.items() if job in known and known[job].is_active]

    def run(
        self,
        function: Callable[[Any], None],
        tasks: Sequence[Task],
        *,
        is_done: Callable[[Task], bool],
        on_change: Callable[[], Sequence[Task] | None] = lambda: None,
        on_lost: Callable[[Task, str], None] = lambda _task, _node: None,
    ) -> None:
        """Runs each task that is not done, and returns when every one of them is done or lost.

        ``function`` runs on the node. ``on_change`` is called whenever a task has ended, and may give further tasks;
        ``on_lost`` is called with a lost one and the node that it was on ("" where it had none). A job of an earlier
        driver that still runs is waited for.
        Raises `SlurmError` where Slurm refuses the jobs or can never start them, and `CancelledError` after a signal to
        stop. Whatever is raised, the jobs are cancelled first.
        """
        with _catch_signals() as stop:
            open_tasks = {task.name: task for task in tasks if not is_done(task)}
            running = {task.name for task in self.list_running()}
            fresh = [task for name, task in open_tasks.items() if name not in running]
            try:
                self._submit(function, fresh)
                while more := self._follow(open_tasks, stop, is_done=is_done, on_change=on_change, on_lost=on_lost):
                    open_tasks |= {task.name: task for task in more}
                    self._submit(function, more)
            except BaseException:
                cancel_jobs([self._jobs[name] for name in open_tasks if name in self._jobs])
                raise

    def _submit(self, function: Callable[[Any], None], tasks: Sequence[Task]) -> None:
        """One array for each node that is pinned, or one for all."""
        pins = self._options.nodes or ("",)
        for place, node in enumerate(pins):
            group = list(tasks[place :: len(pins)])
            if group:
                ids = self._submit_array(function, group, node=node)
                self._jobs |= {task.name: i for task, i in zip(group, ids, strict=True)}
                self._tasks |= {task.name: task for task in group}
                self._write_record()

    def _submit_array(self, function: Callable[[Any], None], tasks: Sequence[Task], *, node: str) -> list[str]:
        import submitit

        options = self._options
        limit_s = options.time_limit_s * max(task.length for task in tasks)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sacct is missing: we do not ask it
            executor = submitit.SlurmExecutor(folder=self._folder / _SUBMITTED)
            executor.update_parameters(
                job_name=self._name,
                time=max(1, math.ceil(min(limit_s, options.longest_s or limit_s) / 60)),
                array_parallelism=options.parallel,
                use_srun=False,
                additional_parameters={
                    "no-requeue": True,  # a lost job is counted, and submitted anew by us
                    **({"partition": options.partition} if options.partition else {}),
                    **({"gpus": options.gpus} if options.gpus else {}),
                    **({"nodelist": node} if node else {}),
                    **({"exclude": ",".join(options.exclude)} if options.exclude else {}),
                },
            )
            try:
                jobs = executor.map_array(function, [task.argument for task in tasks])
            except submitit.core.utils.FailedJobError as error:
                said = [line for line in str(error).splitlines() if "error" in line] or [str(error).strip()]
                raise SlurmError(
                    f"Slurm refuses the jobs: {said[0].strip()}.", hint="Try the same with sbatch."
                ) from None
        return [job.job_id for job in jobs]

    def _follow(
        self,
        open_tasks: dict[str, Task],
        stop: threading.Event,
        *,
        is_done: Callable[[Task], bool],
        on_change: Callable[[], Sequence[Task] | None],
        on_lost: Callable[[Task, str], None],
    ) -> Sequence[Task]:
        """Until there is more to submit, or nothing is left to wait for."""
        nodes: dict[str, str] = {}
        gone_since: dict[str, float] = {}
        while open_tasks:
            if stop.wait(_LOOK_EVERY_S):
                raise CancelledError("Stopped; the jobs on Slurm have been cancelled.")
            known = self._read_patiently([self._jobs[name] for name in open_tasks])
            if known is None:
                continue
            if hopeless := next((job for job in known.values() if job.is_hopeless), None):
                raise SlurmError(
                    f"Slurm will never start the jobs: {hopeless.reason}.",
                    hint="Ask for another --partition, other --nodes or fewer --gpus.",
                )
            nodes |= {i: job.node for i, job in known.items() if job.node}
            ended = [task for task in open_tasks.values() if is_done(task)]
            for name, task in list(open_tasks.items()):
                job = self._jobs[name]
                if task in ended:
                    del open_tasks[name]
                elif job in known and known[job].is_active:
                    gone_since.pop(name, None)
                elif time.monotonic() - gone_since.setdefault(name, time.monotonic()) >= self._settle_s:
                    del open_tasks[name]
                    ended.append(task)
                    del self._jobs[name]
                    on_lost(task, nodes.get(job, ""))
            if ended and (more := on_change()):
                return more
        return ()

    def _read_patiently(self, ids: Sequence[str]) -> dict[str, Job] | None:
        """What Slurm knows of the jobs; None where it does not answer just now, as when its controller restarts."""
        try:
            found = read_jobs(ids)
        except SlurmError:
            self._silent_since = self._silent_since or time.monotonic()
            if time.monotonic() - self._silent_since > _PATIENCE_S:
                raise
            return None
        self._silent_since = None
        return found


@contextmanager
def _catch_signals() -> Iterator[threading.Event]:
    """In the main thread, Ctrl-C, SIGTERM and a closed terminal set an event: jobs must not be left in the queue."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
