"""vLLM's own configuration for a server's command line; runs inside a probe process only."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from traceback import walk_tb
from typing import Any

from triage.engine._names import load_name
from triage.engine.versions import read_versions
from triage.errors import InputError, TriageError, UnsupportedVersionError


def make_vllm_config(model: str, args: Sequence[str]) -> Any:
    """The ``VllmConfig`` that ``vllm.entrypoints.openai.api_server --model MODEL ARGS…`` would run with.

    Raises as `resolve_arguments`.
    """
    return resolve_arguments(model, args)[1]


def resolve_arguments(model: str, args: Sequence[str]) -> tuple[Any, Any]:
    """The ``AsyncEngineArgs`` of a command line, with what vLLM fills into them, and the ``VllmConfig`` of it.

    Raises `InputError` with vLLM's own words where it refuses the arguments or the model, and
    `UnsupportedVersionError` where this vLLM cannot be asked in this way.
    """
    parsed = _parse(["--model", model, *args])
    context = load_name("UsageContext").OPENAI_API_SERVER  # some defaults depend on who asks
    try:
        arguments = load_name("AsyncEngineArgs").from_cli_args(parsed)
        return arguments, arguments.create_engine_config(usage_context=context)
    except TriageError:
        raise
    except (ValueError, OSError, NotImplementedError, TypeError) as error:
        _check_call(error)
        # pydantic adds a link and a dump of the whole input: the first lines hold the sentence
        words = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise InputError(f"vLLM refuses {model}: {words}", hint="Change the model or the engine arguments.") from error


def _check_call(error: Exception) -> None:
    """Raises `UnsupportedVersionError` for a call that vLLM does not take: a `TypeError` that arose here, not in it."""
    *_, frame = walk_tb(error.__traceback__)
    if isinstance(error, TypeError) and frame[0].f_code.co_filename == __file__:
        raise UnsupportedVersionError(
            f"vLLM {read_versions()['vllm']} makes its configuration in another way ({error}).",
            hint="Use a vLLM between 0.18 and 0.33, or mend triage/engine/_config.py.",
        ) from error


def list_given_arguments(args: Sequence[str]) -> list[str]:
    """The engine arguments that a command line names, under the names of the parsed namespace, sorted."""
    parser = _make_parser()
    known = {option: action.dest for action in parser._actions for option in action.option_strings}
    # vLLM takes underscores for dashes, and `--a.b` for a key of a JSON value
    names = (word.partition("=")[0].partition(".")[0].replace("_", "-") for word in args if word.startswith("-"))
    return sorted({known[name] for name in names if name in known})


def list_options() -> dict[str, str]:
    """The option of every engine argument: the longest of its spellings without ``--no-``."""
    parser = _make_parser()
    options = {
        action.dest: [word for word in action.option_strings if word.startswith("--") and not word.startswith("--no-")]
        for action in parser._actions
    }
    return {dest: max(words, key=len) for dest, words in options.items() if words}


def _make_parser() -> Any:
    try:
        return load_name("make_arg_parser")(load_name("FlexibleArgumentParser")())
    except TypeError as error:
        _check_call(error)
        raise


def _parse(argv: Sequence[str]) -> Any:
    parser = _make_parser()
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
