"""The catalogue: one TOML file per known failing case, beside this file.

>>> "e5-token-count" in [case.id for case in read_cases()]
True
"""

from triage.cases._catalogue import CATALOGUE_VARIABLE, Case, find_notebook, read_case, read_cases
from triage.cases._draft import choose_notebook, draft_case, render_case, write_case

__all__ = [
    "CATALOGUE_VARIABLE",
    "Case",
    "choose_notebook",
    "draft_case",
    "find_notebook",
    "read_case",
    "read_cases",
    "render_case",
    "write_case",
]
