"""The same work on many nodes, through a real Slurm: jobs pinned or spread, lost ones told, resumed and cancelled.

>>> from triage.fleet import name_node
>>> name_node("mi300-012")
'node-a77d4c'
"""

from triage.fleet._fleet import CancelledError, Fleet, Task
from triage.fleet._options import SlurmOptions, check_options
from triage.fleet._slurm import Job, SlurmError, is_job_ending, name_node

__all__ = [
    "CancelledError",
    "Fleet",
    "Job",
    "SlurmError",
    "SlurmOptions",
    "Task",
    "check_options",
    "is_job_ending",
    "name_node",
]
