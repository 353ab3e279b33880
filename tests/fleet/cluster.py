"""A real Slurm on one machine: munged, slurmctld and a slurmd for each of two nodes, in a folder of their own.

Both nodes are this machine. Slurm schedules, pins, loses and counts them like any other two.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
_CONF = """
ClusterName=triage
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
SlurmdTimeout=5
KillWait=2
MinJobAge=300
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
{nodes}
PartitionName=short Nodes={names} Default=YES MaxTime=60 State=UP
"""
NODES = ("triage-a", "triage-b")
_NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 Gres=gpu:2 State=UNKNOWN"


def why_not() -> str | None:
    """Why no Slurm can be started here; None where one can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(missing)} (apt-get install slurm-wlm munge)" if missing else None


def _find_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Cluster:
    """A running Slurm. ``environment`` makes sbatch and its like talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        folder.chmod(0o755)  # munged refuses a socket in a folder that others cannot enter
        for number in range(2):  # no GPU is asked anything: Slurm only counts these
            (folder / f"gpu{number}").touch()
        (folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File={folder}/gpu[0-1]\n")
        nodes = [_NODE.format(name=name, host=self.host, port=_find_port()) for name in NODES]
        (folder / "slurm.conf").write_text(
            _CONF.format(
                host=self.host,
                user=getpass.getuser(),
                folder=folder,
                controller=_find_port(),
                nodes="\n".join(nodes),
                names=",".join(NODES),
            )
        )
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]),
        }

    def start(self) -> None:
        """Starts all three, and waits until the node is idle."""
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise

    def _start_all(self) -> None:
        munge = ["munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key"]
        munge += [f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid"]
        munge += [f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munged.seed"]
        self._start("munged", munge)
        self._wait((self.folder / "munge.socket").exists, "munged")
        self._start("slurmctld", ["slurmctld", "-D"])
        for node in NODES:
            self.start_node(node)

    def start_node(self, node: str) -> None:
        """Starts a node's daemon, anew after `kill_node`."""
        self._start(node, ["slurmd", "-D", "-N", node])
        ready = {"idle", "mixed", "allocated"}
        self._wait(lambda: self.ask("sinfo", "-h", "-n", node, "-o", "%T").strip() in ready, node)

    def kill_node(self, node: str) -> None:
        """Kills a node's daemon and all that it runs, as if the node had lost its power."""
        self._kill_tree(self._running.pop(node))
        for process in self._list_jobs_processes(node):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _list_jobs_processes(self, node: str) -> list[psutil.Process]:
        """What this cluster's jobs run on a node, and the daemon of Slurm over each."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                env = process.environ()
                if env.get("SLURMD_NODENAME") == node and env.get("SLURM_CONF") == self.environment["SLURM_CONF"]:
                    parents = [p for p in process.parents() if p.name() == "slurmstepd"]
                    found += [*parents, process]
        return found

    def ask(self, *words: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout

    def list_jobs(self, states: str = "all") -> list[str]:
        """The jobs that Slurm still knows, as ``id state``."""
        return self.ask("squeue", "-h", "-r", "-t", states, "-o", "%i %T").splitlines()

    def stop(self) -> None:
        """Ends everything that was started."""
        self.ask("scancel", "--user", getpass.getuser())
        for name in (*NODES, "slurmctld", "munged"):
            if name in self._running:
                self._kill_tree(self._running.pop(name))

    def _start(self, name: str, command: Sequence[str]) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env=os.environ | self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait(self, ready: object, name: str, *, limit_s: float = 30.0) -> None:
        assert callable(ready)
        until = time.monotonic() + limit_s
        while not ready():
            if self._running[name].poll() is not None or time.monotonic() > until:
                logs = [(self.folder / f"{name}.{end}") for end in ("out", "log")]
                said = "".join(log.read_text(errors="replace")[-1500:] for log in logs if log.exists())
                raise RuntimeError(f"{name} did not come up: {said}")
            time.sleep(0.1)

    @staticmethod
    def _kill_tree(process: subprocess.Popen[bytes]) -> None:
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for child in below:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.wait()
