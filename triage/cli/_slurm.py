"""The options of commands that can run on a Slurm cluster."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from triage.fleet import SlurmOptions


class Place(StrEnum):
    """Where a command makes its runs."""

    LOCAL = "local"
    SLURM = "slurm"


_PANEL = "On Slurm (--on slurm)"
Partition = Annotated[
    str | None,
    typer.Option("--partition", metavar="NAME", help="Without it, the default one.", rich_help_panel=_PANEL),
]
Nodes = Annotated[
    str | None,
    typer.Option(
        "--nodes",
        metavar="A,B|all",
        help="Pin jobs to these nodes in turn, or spread them over all.",
        rich_help_panel=_PANEL,
    ),
]
Exclude = Annotated[
    str | None, typer.Option("--exclude", metavar="A,B", help="Leave these nodes out.", rich_help_panel=_PANEL)
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus", metavar="N", min=0, help="For each job; one without it, where there is any.", rich_help_panel=_PANEL
    ),
]
Parallel = Annotated[
    int, typer.Option("--parallel", metavar="N", help="How many jobs at a time.", rich_help_panel=_PANEL)
]


def read_slurm(
    on: Place,
    *,
    partition: str | None,
    nodes: str | None,
    exclude: str | None,
    gpus: int | None,
    parallel: int,
    time_limit_s: float,
) -> SlurmOptions | None:
    """The options, checked against the cluster; None for runs on this machine."""
    if on is Place.LOCAL:
        return None
    from triage.fleet import SlurmOptions, check_options

    return check_options(
        SlurmOptions(
            partition=partition,
            nodes=_split(nodes),
            exclude=_split(exclude),
            gpus=gpus,
            parallel=parallel,
            time_limit_s=time_limit_s,
        )
    )


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
