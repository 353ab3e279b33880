"""Asks one pair of vLLM and Transformers what it makes of a checkpoint's keys. Standard library, torch and that pair.

Run by path as ``python -P map_weights.py REQUEST.json ANSWER.json``, with the versions to ask first on the PYTHONPATH;
works from vLLM 0.21 on. REQUEST: ``{folder, tensors: [[key, dtype, shape]…], trace: [key…]}``.

The model's real class is built on the meta device, vLLM's Transformers backend makes its own mapper for it
(``Base._create_hf_to_vllm_mapper``), that mapper names every key, and vLLM's own loader is handed every tensor, on
the meta device too. Nothing of the mapper is written again here: the trace comes from watching the same method run.
"""

import copy
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Note = dict[str, Any]  # what one rule did: kind, pattern, replacement, scope, before, after, dropped

_PROBE_KEY = "\0"  # a name that no rule matches, so that every rule looks at it
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


def build_backend(folder: str) -> Any:
    """The class that vLLM's Transformers backend would serve the model with, holding the model on the meta device."""
    from torch import nn
    from transformers import AutoConfig, AutoModel
    from vllm.model_executor.models import transformers as backend
    from vllm.model_executor.models.transformers.utils import init_on_device_without_buffers

    config = AutoConfig.from_pretrained(folder)
    text_config = config.get_text_config()
    # As vLLM's ModelConfig._get_transformers_backend_cls: a nested configuration means a multi-modal model.
    name = "TransformersForCausalLM" if config is text_config else "TransformersMultiModalForCausalLM"
    served = object.__new__(getattr(backend, name))  # its __init__ would want a device and a process group
    nn.Module.__init__(served)
    served.config, served.text_config, served.quant_config = config, text_config, None
    # What the loader leaves out on purpose; the first two are of vLLM up to 0.24.
    served.skip_prefixes, served.skip_substrs = [], []
    served.ignore_unexpected_prefixes, served.ignore_unexpected_suffixes = [], []
    with init_on_device_without_buffers("meta"):
        served.model = AutoModel.from_config(config)
    served.model.tie_weights()
    _add_head(served)
    served._create_hf_to_vllm_mapper()
    return served


def _add_head(served: Any) -> None:
    """The head stands beside the base model, as in vLLM's CausalMixin; tied, it *is* the input embedding."""
    import torch

    embedding = served.model.get_input_embeddings()
    served.lm_head = torch.nn.Linear(
        served.text_config.hidden_size, served.text_config.vocab_size, bias=False, device="meta"
    )
    if served._get_tie_word_embeddings():
        served.lm_head.weight = embedding.weight
        served.skip_prefixes.append("lm_head.")


def read_expected(served: Any) -> dict[str, list[int]]:
    """What the model wants from a checkpoint, as ``{name: shape}``: its parameters and its persistent buffers."""
    expected = {name: list(parameter.shape) for name, parameter in served.named_parameters()}
    for prefix, module in served.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                expected[f"{prefix}.{name}"] = list(buffer.shape)
    return expected


def read_aliases(served: Any) -> dict[str, str]:
    """Second names of a tied weight, as ``{alias: name}``: a checkpoint may hold the weight under either."""
    first = {id(parameter): name for name, parameter in served.named_parameters()}
    every = served.named_parameters(remove_duplicate=False)
    return {name: first[id(parameter)] for name, parameter in every if first[id(parameter)] != name}


def get_map_name(mapper: Any) -> Callable[[str], str | None]:
    """vLLM's own method for one name; older versions have only the private one."""
    method: Callable[[str], str | None] = getattr(mapper, "map_name", None) or mapper._map_name
    return method


class Watch:
    """Notes what each rule does to the name at hand, while vLLM's own method walks over its rules.

    The mapper's collections are replaced by ones that look at the method's local ``key`` before a rule is handed out
    and when the next one is asked for. A version that walks otherwise leaves no notes, and `find_gaps` then says so.
    """

    def __init__(self, mapper: Any) -> None:
        self.notes: list[Note] = []
        watched: dict[str, Any] = {}
        for field in dataclasses.fields(mapper):
            rules = getattr(mapper, field.name)
            if isinstance(rules, list):
                watched[field.name] = self._watch_list(field.name, rules)
            elif isinstance(rules, dict):
                watched[field.name] = self._watch_mapping(field.name, rules)
        self._map_name = get_map_name(dataclasses.replace(mapper, **watched))

    def trace(self, key: str) -> tuple[str | None, list[Note]]:
        """(mapped name, the notes of this name)."""
        self.notes = []
        return self._map_name(key), self.notes

    def _watch_list(self, field: str, rules: list[Any]) -> list[Any]:
        watch = self

        class Watched(list[Any]):
            def __iter__(self) -> Iterator[Any]:
                return watch._hand_out([(rule, describe_renaming(field, rule)) for rule in list.__iter__(self)])

        return Watched(rules)

    def _watch_mapping(self, field: str, rules: dict[Any, Any]) -> dict[Any, Any]:
        watch = self

        class Watched(dict[Any, Any]):
            def items(self) -> Any:
                return watch._hand_out([(item, describe_pair(field, *item)) for item in dict.items(self)])

        return Watched(rules)

    def _hand_out(self, rules: list[tuple[Any, Note]]) -> Iterator[Any]:
        for rule, description in rules:
            note = {**description, "before": sys._getframe(1).f_locals.get("key"), "after": None, "dropped": True}
            self.notes.append(note)
            yield rule  # a rule that drops the weight returns from the method: this generator never comes back
            note.update(after=sys._getframe(1).f_locals.get("key"), dropped=False)


def describe_renaming(field: str, rule: Any) -> Note:
    """A Transformers ``WeightRenaming``; ``scope`` is the module that it is confined to."""
    return {
        "kind": field.removeprefix("orig_to_new_"),
        "pattern": " | ".join(getattr(rule, "_original_source_patterns", None) or rule.source_patterns),
        "replacement": " | ".join(rule.target_patterns),
        "scope": getattr(rule, "scope_prefix", None),
    }


def describe_pair(field: str, pattern: Any, replacement: Any) -> Note:
    """A pair of a ``WeightsMapper``: a pattern or plain text, and what takes its place (None drops the weight)."""
    if isinstance(replacement, tuple):  # stacked: (name, shard)
        replacement = replacement[0]
    return {
        "kind": field.removeprefix("orig_to_new_"),
        "pattern": getattr(pattern, "pattern", pattern),
        "replacement": replacement,
        "scope": None,
    }


def find_gap(key: str, mapped: str | None, notes: list[Note]) -> str | None:
    """Why a trace does not lead from the key to the name that vLLM itself gives, or None where it does."""
    name: str | None = key
    for note in notes:
        if note["before"] != name:
            return f"between two rules {name!r} became {note['before']!r}"
        name = note["after"]
    return None if name == mapped else f"the rules lead to {name!r}, vLLM says {mapped!r}"


def try_load(served: Any, tensors: list[tuple[str, str, list[int]]]) -> tuple[list[str], str | None]:
    """vLLM's own loader on tensors without data. Returns (what it loaded, the error that ended it or None)."""
    import torch
    from vllm.model_executor.models.transformers.base import Base

    weights = (
        (key, torch.empty(shape, dtype=getattr(torch, _DTYPES.get(dtype, "float32")), device="meta"))
        for key, dtype, shape in tensors
    )
    try:
        return sorted(Base.load_weights(served, weights)), None
    except (ValueError, AssertionError, KeyError, RuntimeError) as error:  # its ways to say that a weight does not fit
        return [], f"{type(error).__name__}: {error}"


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    import transformers
    import vllm

    served = build_backend(request["folder"])
    expected = read_expected(served)
    keys = [key for key, _, _ in request["tensors"]]
    # Some renamings of Transformers remember what they have seen: each pass gets rules that have seen nothing.
    map_name = get_map_name(copy.deepcopy(served.hf_to_vllm_mapper))
    watch = Watch(copy.deepcopy(served.hf_to_vllm_mapper))
    mapped: dict[str, str | None] = {}
    gaps: dict[str, str] = {}
    traces: dict[str, list[Note]] = {}
    for key in keys:
        mapped[key] = map_name(key)
        traced, notes = watch.trace(key)
        gap = find_gap(key, mapped[key], notes) if traced == mapped[key] else f"watched, it maps to {traced!r}"
        if gap:
            gaps[key] = gap
        if key in request["trace"]:
            traces[key] = notes
    for key in request["trace"]:
        if key not in traces:  # asked about a key that the checkpoint does not hold
            traced, traces[key] = watch.trace(key)
            if gap := find_gap(key, traced, traces[key]):
                gaps[key] = gap
    loaded, load_error = try_load(served, request["tensors"])
    answer = {
        "vllm": vllm.__version__,
        "vllm_file": vllm.__file__,
        "transformers": transformers.__version__,
        "transformers_file": transformers.__file__,
        "model_class": f"{type(served).__name__} on {type(served.model).__name__}",
        "mapped": mapped,
        "expected": expected,
        "aliases": read_aliases(served),
        "rules": [
            {name: note[name] for name in ("kind", "pattern", "replacement", "scope")}
            for note in watch.trace(_PROBE_KEY)[1]
        ],
        "traces": traces,
        "gaps": gaps,
        "loaded": loaded,
        "load_error": load_error,
    }
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
