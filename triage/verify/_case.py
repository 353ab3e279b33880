"""A case of the catalogue as something to verify a fix against: its command, and the vLLM that a patch goes onto."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from triage.cases import Case
from triage.verify._arms import OVERLAY
from triage.verify._overlay import find_package
from triage.verify._verify import Plan

_HISTORICAL = "historical_vllm"


def plan_case(case: Case, plan: Plan, *, folder: Path) -> Plan:
    """The plan with what the case gives it: a command, where it has none, and the package for a patch.

    A case that asks a historical vLLM gets the patch onto that one, the others onto the installed one. The command
    runs in ``folder``: a case needs no checkout. Raises what `triage.engine.history.find_versions` raises.
    """
    packages, words = plan.packages, [sys.executable, "-m", "triage.verify.symptom", case.id]
    if plan.change.patch is not None and packages is None:
        if version := case.parameters.get(_HISTORICAL):
            from triage.engine.history import find_versions

            packages = find_versions(vllm=version).folders[0]
            words += ["--vllm", OVERLAY]
        else:
            packages = find_package("vllm")
    if plan.command:
        return replace(plan, packages=packages, case=case.id)
    return replace(plan, command=words, packages=packages, folder=folder, case=case.id)
