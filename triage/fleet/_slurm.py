"""Asking Slurm through its own commands: what it has, which jobs it knows, and which it is to end.

Accounting (`sacct`) is not needed: `squeue` still knows a job for minutes after its end.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import environ

from triage.engine import node
from triage.errors import InputError, MachineError

_ASK_LIMIT_S = 60.0
_ACTIVE = {
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "REQUEUED",
    "RESIZING",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
}


class SlurmError(MachineError):
    """Slurm does not answer, or refuses a job."""


# Why a job waits that will never begin as it was asked for.
_HOPELESS = {
    "AccountNotAllowed",
    "BadConstraints",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSNotAllowed",
    "InvalidAccount",
    "InvalidQOS",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What Slurm says of a job: its state in Slurm's words, the node that it is or was on ("" before it began)."""

    id: str
    state: str
    node: str
    reason: str

    @property
    def is_active(self) -> bool:
        """Whether it may still give a result.

        >>> Job(id="1", state="NODE_FAIL", node="n", reason="").is_active
        False
        """
        return self.state in _ACTIVE

    @property
    def is_hopeless(self) -> bool:
        """Whether it waits for what will not come.

        >>> Job(id="1", state="PENDING", node="", reason="PartitionTimeLimit").is_hopeless
        True
        """
        return self.state == "PENDING" and self.reason in _HOPELESS


def name_node(host: str | None = None) -> str:
    """A node's alias: the same in every record, and not its name. Without ``host``, of the machine that this runs on.

    On a cluster it is made from the name that Slurm has for the node, since that is all that is known of one that died.
    """
    host = host or environ.get("SLURMD_NODENAME")
    return f"node-{hashlib.sha256(host.encode()).hexdigest()[:6]}" if host else node.name_node()


def ask_slurm(*words: str) -> str:
    """What one of Slurm's commands prints. Raises `InputError` where there is no Slurm, `SlurmError` where it fails."""
    if shutil.which(words[0]) is None:
        raise InputError(
            f"There is no Slurm here: {words[0]} is not in PATH.",
            hint="Run it on a login node of the cluster, or leave --on slurm out.",
        )
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ASK_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"{words[0]} gave no answer for {_ASK_LIMIT_S:g} s.", hint="Is slurmctld up? scontrol ping"
        ) from None
    if done.returncode != 0 and "resolve_ctls" in done.stderr:
        raise InputError(
            f"There is no Slurm here: {words[0]} finds no slurm.conf.",
            hint="Set SLURM_CONF, run it on a login node of the cluster, or leave --on slurm out.",
        )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[0]
        raise SlurmError(f"{words[0]} failed: {said.rstrip('.')}.", hint="Is slurmctld up? scontrol ping")
    return done.stdout


def list_partitions() -> list[str]:
    """The partitions of the cluster, the default one first."""
    names = [line.strip() for line in ask_slurm("sinfo", "-h", "-o", "%P").splitlines() if line.strip()]
    return [name.rstrip("*") for name in sorted(dict.fromkeys(names), key=lambda name: not name.endswith("*"))]


def list_nodes(partition: str) -> list[str]:
    """The nodes of a partition that take jobs."""
    rows = ask_slurm("sinfo", "-h", "-N", "-p", partition, "-o", "%N %t").splitlines()
    return list(
        dict.fromkeys(row.split()[0] for row in rows if row.split()[1].rstrip("*~#$@+") in {"idle", "mix", "alloc"})
    )


def has_gpus(partition: str) -> bool:
    """Whether Slurm counts GPUs on the nodes of a partition."""
    return any("gpu" in row for row in ask_slurm("sinfo", "-h", "-p", partition, "-o", "%G").splitlines())


def read_time_limit(partition: str) -> float | None:
    """The longest that a job may take on a partition, in seconds; None where there is no limit.

    Slurm writes it as ``days-hours:minutes:seconds``.
    """
    text = next(iter(ask_slurm("sinfo", "-h", "-p", partition, "-o", "%l").split()), "infinite")
    if not re.fullmatch(r"(\d+-)?[\d:]+", text):
        return None
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return 86400.0 * int(days or 0) + seconds


def read_jobs(ids: Iterable[str]) -> dict[str, Job]:
    """Those of the jobs that Slurm still knows, by id; array tasks one by one."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    arrays = ",".join(sorted({i.partition("_")[0] for i in wanted}))
    try:
        text = ask_slurm("squeue", "-h", "-r", "-t", "all", "-j", arrays, "-o", "%i|%T|%N|%r")
    except SlurmError as error:
        if "Invalid job id" in error.message:  # it has forgotten all of them
            return {}
        raise
    jobs = [line.split("|") for line in text.splitlines() if line.count("|") == 3]
    found = {i: Job(id=i, state=state, node=node, reason=reason) for i, state, node, reason in jobs}
    return {i: found[i] for i in wanted if i in found}


def is_job_ending() -> bool:
    """Whether Slurm is ending the job that this process belongs to; also where Slurm does not say that it runs."""
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{task}" if array and task else environ.get("SLURM_JOB_ID", "")
    if not name:
        return False
    try:
        job = read_jobs([name]).get(name)
    except SlurmError:
        return True
    return job is None or job.state != "RUNNING"


def cancel_jobs(ids: Sequence[str]) -> None:
    """Ends jobs, queued or running; those that have ended already are no error."""
    if ids:
        subprocess.run(
            ["scancel", *ids], stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_LIMIT_S, check=False
        )
