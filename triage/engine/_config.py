"""vLLM's own configuration for a server's command line; runs inside a probe process only."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from triage.engine._names import load_name
from triage.errors import InputError, TriageError


def make_vllm_config(model: str, args: Sequence[str]) -> Any:
    """The ``VllmConfig`` that ``vllm.entrypoints.openai.api_server --model MODEL ARGS…`` would run with.

    Raises `InputError` with vLLM's own words where it refuses the arguments or the model.
    """
    parsed = _parse(["--model", model, *args])
    context = load_name("UsageContext").OPENAI_API_SERVER  # some defaults depend on who asks
    try:
        return load_name("AsyncEngineArgs").from_cli_args(parsed).create_engine_config(usage_context=context)
    except TriageError:
        raise
    except (ValueError, OSError, NotImplementedError, TypeError) as error:
        # pydantic adds a link and a dump of the whole input: the first lines hold the sentence
        words = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise InputError(f"vLLM refuses {model}: {words}", hint="Change the model or the engine arguments.") from error


def list_given_arguments(args: Sequence[str]) -> list[str]:
    """The engine arguments that a command line names, under the names of the parsed namespace, sorted."""
    parser = load_name("make_arg_parser")(load_name("FlexibleArgumentParser")())
    known = {option: action.dest for action in parser._actions for option in action.option_strings}
    # vLLM takes underscores for dashes, and `--a.b` for a key of a JSON value
    names = (word.partition("=")[0].partition(".")[0].replace("_", "-") for word in args if word.startswith("-"))
    return sorted({known[name] for name in names if name in known})


def _parse(argv: Sequence[str]) -> Any:
    parser = load_name("make_arg_parser")(load_name("FlexibleArgumentParser")())
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser.parse_args(list(argv))
    except SystemExit:  # argparse ends the process on a bad argument
        lines = [line.strip() for line in said.getvalue().splitlines() if "error:" in line]
        words = lines[-1].partition("error:")[2].strip() if lines else f"bad arguments {' '.join(argv)}"
        raise InputError(
            f"vLLM does not take these engine arguments: {words}.", hint="See `vllm serve --help`."
        ) from None
