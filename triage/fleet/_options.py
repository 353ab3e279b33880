"""How jobs are to be run on Slurm, checked against the cluster before anything is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from triage.errors import InputError
from triage.fleet._slurm import has_gpus, list_nodes, list_partitions, name_node, read_time_limit


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """Where and how: ``nodes`` pins jobs to these nodes in turn, ``exclude`` leaves some out.

    ``gpus`` is the number for each job; None: one, where the partition has any. ``parallel`` is how many jobs run at a
    time, on each node where some are pinned. ``time_limit_s`` is what Slurm gives each, and ``longest_s`` the most
    that the partition allows.
    """

    partition: str | None = None
    nodes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gpus: int | None = None
    parallel: int = 8
    time_limit_s: float = 3600.0
    longest_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As records keep it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> SlurmOptions:
        """What `to_json` wrote."""
        return cls(**{**fields, "nodes": tuple(fields["nodes"]), "exclude": tuple(fields["exclude"])})


def check_options(options: SlurmOptions) -> SlurmOptions:
    """The options with what they leave open taken from the cluster.

    ``nodes`` may be ``("all",)``: every node of the partition that takes jobs. A node may be named by its alias.

    Raises one `InputError` for a partition or nodes that do not exist, and where there is no Slurm; `SlurmError` where
    it does not answer.
    """
    partitions = list_partitions()
    if not partitions:
        raise InputError("This Slurm has no partition.", hint="Ask whoever keeps the cluster.")
    partition = options.partition or partitions[0]
    if partition not in partitions:
        raise InputError(f"There is no partition {partition!r}.", hint=f"There are: {', '.join(partitions)}.")
    known = list_nodes(partition)
    aliases = {name_node(name): name for name in known}
    pinned, excluded = (tuple(aliases.get(n, n) for n in names) for names in (options.nodes, options.exclude))
    if unknown := [name for name in (*pinned, *excluded) if name not in known and name != "all"]:
        raise InputError(
            f"The partition {partition} has no node {', '.join(unknown)} that takes jobs.",
            hint=f"It has: {', '.join(known[:8]) or 'none'}.",
        )
    nodes = known if pinned == ("all",) else pinned
    if options.parallel < 1:
        raise InputError(f"--parallel is {options.parallel}.", hint="Give a number of jobs from 1 on.")
    return replace(
        options,
        partition=partition,
        longest_s=read_time_limit(partition),
        nodes=tuple(name for name in nodes if name not in excluded),
        exclude=excluded,
        gpus=int(has_gpus(partition)) if options.gpus is None else options.gpus,
    )
