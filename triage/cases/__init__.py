"""The catalogue: one TOML file per known failing case, beside this file.

>>> [case.id for case in read_cases()][:2]
['e5-token-count', 'gemma3-legacy-keys']
"""

from triage.cases._catalogue import Case, find_notebook, read_case, read_cases

__all__ = ["Case", "find_notebook", "read_case", "read_cases"]
