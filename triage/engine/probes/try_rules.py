"""Tries rules on the mapper of every vision-language architecture. Standard library, torch and one pair of versions.

Run by path as ``python -P try_rules.py REQUEST.json ANSWER.json``, with the versions to ask first on the PYTHONPATH.
REQUEST: ``{architectures: [name…], positions: [{name, rules: [[kind, pattern, replacement]…], placement, when_module,
unless_module, scoped}…], progress: FILE}``; the answer lists the architectures that there are, and the versions.
FILE gets one line of JSON when an architecture is begun and one with what came of it, so that a death costs one.
"""

import copy
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))  # -P keeps it off; last, so that it hides nothing

from vision_models import build_models, list_architectures, read_aliases, read_layouts, read_tensors

_EXAMPLES = 3

MapName = Callable[[str], str | None]


def get_map_name(mapper: Any) -> MapName:
    """vLLM's own method for one name; older versions have only the private one."""
    method: MapName = getattr(mapper, "map_name", None) or mapper._map_name
    return method


def place(served: Any, position: dict[str, Any]) -> MapName | None:
    """The mapper with a position's rules in it, as one function; None where the position does not touch this model."""
    from vllm.model_executor.models.utils import WeightsMapper

    modules = dict(served.model.named_modules())
    if position["when_module"] and position["when_module"] not in modules:
        return None
    if position["unless_module"] and position["unless_module"] in modules:
        return None
    mapper = copy.deepcopy(served.hf_to_vllm_mapper)
    first = find_first_normalisation(served, mapper)
    if position["scoped"]:
        if any("renaming" in name and getattr(mapper, name) for name in vars(mapper)):
            return None  # from vLLM 0.24 on it is what the mapper does anyway
        return rename_with_scope(served, mapper, first)
    rules = [make_field(kind, pattern, replacement) for kind, pattern, replacement in position["rules"]]
    if position["placement"] == "after_renamings":
        rows = list(mapper.orig_to_new_regex.items())
        added = [pair for field, pair in rules if field == "orig_to_new_regex"]
        mapper.orig_to_new_regex = dict([*rows[:first], *added, *rows[first:]])
        for field, (pattern, replacement) in rules:
            if field != "orig_to_new_regex":
                setattr(mapper, field, {**getattr(mapper, field), pattern: replacement})
        return get_map_name(mapper)
    own = [get_map_name(WeightsMapper(**{field: dict([pair])})) for field, pair in rules]
    chain = [*own, get_map_name(mapper)] if position["placement"] == "first" else [get_map_name(mapper), *own]
    return lambda key: run_chain(chain, key)


def run_chain(chain: list[MapName], key: str) -> str | None:
    """One name through several mappers."""
    name: str | None = key
    for step in chain:
        if name is None:
            return None
        name = step(name)
    return name


def make_field(kind: str, pattern: str, replacement: str | None) -> tuple[str, tuple[Any, str | None]]:
    """(the field of a ``WeightsMapper``, the pair that goes in); a pattern is compiled by the module that vLLM uses."""
    from vllm.model_executor.models import utils

    return f"orig_to_new_{kind}", (utils.re.compile(pattern) if kind == "regex" else pattern, replacement)


def find_first_normalisation(served: Any, mapper: Any) -> int:
    """Where, among the regular expressions, those of Transformers' renamings end and the prefix's own begin."""
    prefix = served.model.base_model_prefix
    for index, (pattern, replacement) in enumerate(mapper.orig_to_new_regex.items()):
        if (
            replacement is None
            or pattern.pattern == rf"^{prefix}\.(.+)"
            or pattern.pattern.startswith(r"^(?!model\.)((")
        ):
            return index
    return 0


def rename_with_scope(served: Any, mapper: Any, first: int) -> MapName:
    """The mapper with Transformers' own, scoped renaming in place of what it made of the patterns."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    renamings = [rule for rule in get_model_conversion_mapping(served.model) if isinstance(rule, WeightRenaming)]
    mapper.orig_to_new_regex = dict(list(mapper.orig_to_new_regex.items())[first:])
    if hasattr(mapper, "orig_to_new_renaming"):
        mapper.orig_to_new_renaming = []
    rest = get_map_name(mapper)

    def map_name(key: str) -> str | None:
        name: str = key
        for renaming in renamings:
            name, _ = renaming.rename_source_key(name)
        return rest(name)

    return map_name


def compare(
    served: Any, shapes: dict[str, list[int]], map_name: MapName, before: dict[str, str | None]
) -> dict[str, Any]:
    """What a position changes for the keys of a checkpoint: how many, and the first of each sort."""
    fits = get_fits(served)
    changed: list[list[str | None]] = []
    broken: list[list[str | None]] = []
    fixed: list[list[str | None]] = []
    for key, shape in shapes.items():
        name = map_name(key)
        if name == before[key]:
            continue
        row: list[str | None] = [key, before[key], name]
        changed.append(row)
        did, does = fits(before[key], shape), fits(name, shape)
        if did != does:
            (fixed if does else broken).append(row)
    return {
        sort: {"count": len(rows), "examples": rows[:_EXAMPLES]}
        for sort, rows in (("changed", changed), ("broken", broken), ("fixed", fixed))
    }


def get_fits(served: Any) -> Callable[[str | None, list[int]], bool]:
    """Whether a tensor of a shape loads under a name: it is a parameter's, a tied one's, or dropped on purpose."""

    shapes, aliases = {name: list(tensor.shape) for name, tensor in read_tensors(served).items()}, read_aliases(served)
    return lambda name, shape: name is None or name in aliases or shapes.get(name) == shape


def try_architecture(name: str, model_class: str, positions: list[dict[str, Any]]) -> dict[str, Any]:
    """Every position on every layout of one architecture."""

    served, whole = build_models(name, model_class)
    fits = get_fits(served)
    layouts = []
    for layout, shapes in read_layouts(whole).items():
        base = get_map_name(copy.deepcopy(served.hf_to_vllm_mapper))
        before = {key: base(key) for key in shapes}
        outcomes: dict[str, Any] = {}
        for position in positions:
            map_name = place(served, position)
            outcomes[position["name"]] = compare(served, shapes, map_name or before.__getitem__, before)
        loads = sum(fits(before[key], shape) for key, shape in shapes.items())
        layouts.append({"layout": layout, "keys": len(shapes), "loads": loads, "positions": outcomes})
    return {"architecture": name, "model_class": model_class, "layouts": layouts}


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    import transformers
    import vllm

    known = list_architectures()
    with Path(request["progress"]).open("a", encoding="utf-8") as progress:
        for name in request["architectures"] or ():
            print(json.dumps({"begin": name}), file=progress, flush=True)
            try:
                row = try_architecture(name, known[name], request["positions"])
            except Exception as error:  # noqa: BLE001  told, with its reason, as an architecture that does not build
                words = " ".join(str(error).split())[:200]
                row = {
                    "architecture": name,
                    "model_class": known.get(name, ""),
                    "reason": f"{type(error).__name__}: {words}",
                }
            print(json.dumps(row), file=progress, flush=True)
    answer = {
        "architectures": known,
        "vllm": vllm.__version__,
        "vllm_file": vllm.__file__,
        "transformers": transformers.__version__,
        "transformers_file": transformers.__file__,
    }
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
