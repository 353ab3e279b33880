"""What the machine is on which a verification is driven: the part of a receipt that says where its figures hold."""

from __future__ import annotations

import json
from typing import Any

from triage.fleet import name_node
from triage.settings import capture_environment


def describe_environment() -> dict[str, Any]:
    """`triage.settings.capture_environment` of the driver, as plain JSON; of vLLM's variables those that are set.

    On a cluster it is the machine of the driver, which its alias names; that of a run stands with the run.
    """
    capture: dict[str, Any] = json.loads(capture_environment().to_json())
    known = capture["vllm_variables"].items()
    capture["vllm_variables"] = {name: row for name, row in known if row["is_set"]}
    return {"node": name_node(), **capture}
