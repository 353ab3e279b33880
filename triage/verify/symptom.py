"""One run of a case as a test: ``python -m triage.verify.symptom CASE``. It fails while the symptom is there.

Exits 1 with the symptom's words, 0 where it is absent, and 125 where this machine cannot tell. Checkpoint keys are
asked of vLLM's own loader alone, in seconds; the other families run their notebook.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from triage.cases import Case, read_case
from triage.errors import EngineError, TriageError
from triage.result import Family, Verdict
from triage.verify._outcome import CANNOT_TELL

_PRESENT = {Verdict.REPRODUCED, Verdict.MECHANISM, Verdict.FLAKY}


class CannotTellError(TriageError):
    """The run says nothing of the symptom, neither that it is there nor that it is not."""


def find_symptom(case: Case, *, vllm: str | None = None, parameters: Mapping[str, str] | None = None) -> str | None:
    """The words of a case's symptom, None where it is absent.

    ``vllm`` is a version, or a folder that holds one, for a case that asks a historical vLLM; ``parameters`` are the
    notebook's, as text. Raises `EngineError` where vLLM itself breaks, and other leaves where the run cannot tell.
    """
    values = dict(parameters or {})
    if vllm is not None:
        values["historical_vllm"] = vllm
    if case.family is Family.CHECKPOINT_KEYS:
        return _load_keys(case.parameters | values)
    return _run_notebook(case, values)


def _load_keys(parameters: Mapping[str, Any]) -> str | None:
    """What vLLM's own loader says of the checkpoint's keys."""
    from triage.checkpoints import compare_with_model
    from triage.engine.history import INSTALLED, find_versions
    from triage.engine.models import find_model

    pair = find_versions(
        vllm=parameters.get("historical_vllm", INSTALLED),
        transformers=parameters.get("historical_transformers", INSTALLED),
    )
    compared = compare_with_model(find_model(parameters["checkpoint"]), versions=pair)
    if compared.diff.whole and compared.weights.load_error is None:
        return None
    return compared.weights.load_error or f"The checkpoint does not load whole: {compared.describe()}."


def _run_notebook(case: Case, parameters: Mapping[str, str]) -> str | None:
    """The verdict of the case's notebook, run as ``triage run`` does."""
    with tempfile.TemporaryDirectory(prefix="triage-") as out:
        words = [sys.executable, "-m", "triage.cli", "run", case.id, "--out", out, "--json"]
        words += [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
        try:
            (result,) = json.loads(done.stdout)["results"]
        except (ValueError, KeyError) as error:
            raise CannotTellError(f"triage run {case.id} gave no result.", hint="Run it alone.") from error
    verdict = Verdict(result["verdict"])
    if verdict in _PRESENT:
        return f"{verdict}: {result['cause']}"
    if verdict is Verdict.NOT_REPRODUCED:
        return None
    raise CannotTellError(f"{verdict}: {result['cause']}", hint=f"Run it alone: triage run {case.id}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the symptom, if it is there, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m triage.verify.symptom", description=__doc__)
    parser.add_argument("case")
    parser.add_argument("--vllm", metavar="PLACE", help="the vLLM that a historical case asks")
    parser.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args(arguments)
    parameters = dict(pair.partition("=")[::2] for pair in given.parameters)
    try:
        words = find_symptom(read_case(given.case), vllm=given.vllm, parameters=parameters)
    except EngineError as error:
        sys.stderr.write(f"EngineError: {error.message}\n")
        return 1
    except TriageError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return CANNOT_TELL
    if words is not None:
        sys.stderr.write(f"{' '.join(words.split())}\n")
        return 1
    sys.stdout.write(f"{given.case}: the symptom is absent.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
