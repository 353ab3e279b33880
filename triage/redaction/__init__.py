"""Keeps what belongs to a person or a machine out of records: secrets, home and cache paths, user and host names.

The one owner of this: whatever is written to disk, to a page or to a terminal for others to read goes through here.
A secret is known by the *name* it stands under, by the *shape* of its value, by being the value of such a variable of
this process, or by being long and random under whatever name. The same text is read in log lines, JSON, JSON within
JSON (a notebook's outputs) and HTML.

>>> redact_text("export HF_TOKEN=hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345; export TOKENIZERS_PARALLELISM=false")
'export HF_TOKEN=(not recorded); export TOKENIZERS_PARALLELISM=false'
"""

from triage.redaction._names import is_secret_name
from triage.redaction._text import NOT_RECORDED, join_command, redact_result, redact_text
from triage.redaction._values import redact_json, redact_value, redact_variables, unfold_paths

__all__ = [
    "NOT_RECORDED",
    "is_secret_name",
    "join_command",
    "redact_json",
    "redact_result",
    "redact_text",
    "redact_value",
    "redact_variables",
    "unfold_paths",
]
