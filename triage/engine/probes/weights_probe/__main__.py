"""The program: REQUEST in, ANSWER out.

REQUEST: ``{jobs: [{folder, model_impl, tensors: [[key, dtype, shape]…], trace: [key…], renames: {key:
name}}…]}``. ANSWER: the versions and
where they come from, and for each job its answer, or ``{error}``.
"""

import copy
import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

from ._build import Built, CannotBuildError, build
from ._flow import Flow
from ._load import NeedsDataError, Outcome, load_all
from ._names import Names, describe_last_step
from ._needs import find_missing
from ._parts import PartAsker
from ._watch import list_rules, map_and_watch

_MEMORY_BYTES = 24 * 2**30  # of address space, of which torch reserves a lot; no weight takes any


def answer_job(job: dict[str, Any]) -> dict[str, Any]:
    """What the pair makes of one checkpoint."""
    built = build(job["folder"], job["model_impl"])
    keys = [key for key, _, _ in job["tensors"]]
    # Some renamings remember what they have seen: the loader gets rules that have seen nothing.
    asked = map_and_watch(copy.deepcopy(built.mapper), keys, job["trace"]) if built.mapper is not None else None
    places = {**dict(built.model.named_buffers()), **built.expected}
    flow = Flow(places)
    names = Names(traced=frozenset() if asked else frozenset(job["trace"]), renames=job["renames"])
    outcome = load_all(built.load, job["tensors"], flow, names)
    if asked is not None:
        mapped, traces, gaps = {**asked[0], **job["renames"]}, *asked[1:]
        rules = list_rules(copy.deepcopy(built.mapper))
        _set_ties_aside(outcome, flow, mapped, built)
    else:
        mapped, traces, gaps = _finish_names(outcome, names, built, job["trace"])
        rules = names.rules or []
    expected = {name: list(tensor.shape) for name, tensor in built.expected.items()}
    for name in flow.writes:  # a buffer that the checkpoint fills is wanted after all
        expected.setdefault(name, list(places[name].shape))
    shapes = {key: shape for key, _, shape in job["tensors"]}
    lost = {
        stem: shapes[key]
        for key, stem in names.stems.items()
        if outcome.fates[key][0] in {"unexpected", "ignored"} and stem not in built.aliases
    }
    asker = PartAsker(built.load, built.model, places, lost)
    missing, partial = find_missing(expected, flow, outcome.fates, names.stems, asker.ask)
    if built.quantized:  # scales that vLLM makes itself need no tensor: its own check of quantized models knows them
        missing, partial = {name: shape for name, shape in missing.items() if name in _track(built, outcome)}, {}
    return {
        "implementation": built.implementation,
        "reason": built.reason,
        "model_class": built.model_class,
        "stand_in": built.stand_in,
        "mapped": mapped,
        "stems": names.stems,
        "fates": {key: [status, name, shape] for key, (status, name, shape) in outcome.fates.items()},
        "reached": {key: homes for key, homes in flow.reached.items() if len(homes) > 1},
        "missing": missing,
        "partial": partial,
        "expected": expected,
        "aliases": dict(built.aliases),
        "rules": rules,
        "traces": traces,
        "gaps": gaps,
        "loaded": sorted(outcome.loaded) if outcome.error is None else [],
        "load_error": outcome.error,
    }


def _set_ties_aside(outcome: Outcome, flow: Flow, mapped: dict[str, str | None], built: Built) -> None:
    """A key that is mapped to the second name of a tied weight may be there and need not."""
    for key, (status, _, _) in outcome.fates.items():
        name = mapped[key]
        if name in built.aliases:
            flow.forget(key)
            outcome.fates[key] = ("ignored", name, None)
        elif status == "unexpected":
            outcome.fates[key] = (status, name, None)


def _finish_names(
    outcome: Outcome, names: Names, built: Built, traced: list[str]
) -> tuple[dict[str, str | None], dict[str, list[Any]], dict[str, str]]:
    """(final names, traces to the end, gaps) of a model whose loader was watched, not asked beforehand."""
    mapped: dict[str, str | None] = {}
    loader = f"{type(built.model).__name__}.load_weights"
    for key, (status, name, _) in outcome.fates.items():
        between = names.mapped.get(key, names.renames.get(key, key))
        mapped[key] = between if status == "unexpected" or (status == "ignored" and between is None) else name
        if key in traced:
            notes = names.notes.setdefault(key, [])
            if status != "unexpected" and (step := describe_last_step(between, mapped[key], loader)):
                notes.append(step)
    gaps = {**names.gaps, **{key: "the checkpoint does not hold it" for key in traced if key not in outcome.fates}}
    return mapped, {key: names.notes.get(key, []) for key in traced}, gaps


def _track(built: Built, outcome: Outcome) -> frozenset[str]:
    """The parameters of a quantized model that vLLM's own check misses."""
    from vllm.config.load import LoadConfig
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    loader = DefaultModelLoader(LoadConfig())
    if not hasattr(loader, "track_weights_loading"):
        return frozenset(built.expected) - frozenset(outcome.loaded)
    left: set[str] = set(built.expected) - outcome.loaded
    try:
        loader.track_weights_loading(built.model, set(outcome.loaded))
    except ValueError as error:
        return frozenset(name for name in left if repr(name) in str(error))
    return frozenset()


def _limit_memory() -> None:
    """A configuration of a billion layers must fail here, not take the machine along."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > _MEMORY_BYTES:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, hard))


def main() -> None:
    """Answers every job; one that fails says so, and the others go on."""
    _limit_memory()
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    import transformers
    import vllm

    answers = []
    for job in request["jobs"]:
        try:
            answers.append(answer_job(job))
        except CannotBuildError as error:
            traceback.print_exc()
            answers.append({"error": f"does not build the model: {error}"})
        except NeedsDataError as error:
            traceback.print_exc()
            answers.append({"error": f"has a loader for this model that reads values, and there are none: {error}"})
    answer = {
        "vllm": vllm.__version__,
        "vllm_file": vllm.__file__,
        "transformers": transformers.__version__,
        "transformers_file": transformers.__file__,
        "answers": answers,
    }
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
