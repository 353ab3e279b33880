"""Builds the class that vLLM would serve a model with, on the meta device."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ._load import Load

_ABSENT_OPERATOR = re.compile(r"'_OpNamespace' '(\w+)' object has no attribute '(\w+)'")
_MAX_STAND_INS = 50
_SERVED_TYPES: set[str] = set()


class CannotBuildError(Exception):
    """The pair does not build this model here; the text is a clause."""


@dataclass
class Built:
    """A model without data, and how vLLM loads it.

    ``mapper`` is there where it can be asked beforehand (the Transformers backend's); ``stand_in`` says that the model
    is Transformers' own, without the layers that the backend would put in the place of some of its own.
    """

    model: torch.nn.Module
    load: Load
    implementation: str
    reason: str
    model_class: str
    expected: dict[str, torch.Tensor]
    mapper: Any = None
    stand_in: bool = False
    quantized: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)


def build(folder: str, model_impl: str) -> Built:
    """``model_impl`` is ``auto``, ``vllm`` or ``transformers``. Raises `CannotBuildError`."""
    try:
        if model_impl == "transformers":
            return _build_backend(folder, "as asked for")
        return _build_through_vllm(folder, model_impl)
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise CannotBuildError(words) from error


def _build_backend(folder: str, reason: str) -> Built:
    """vLLM's Transformers backend: a stand-in of plain layers where that loads the same keys, else the real thing."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    # The real backend changes the classes of Transformers that it serves, for good: no stand-in in this process then.
    plain = getattr(config, "quantization_config", None) is None and not _is_pooling(config)
    if plain and config.model_type not in _SERVED_TYPES:
        built = _build_stand_in(config, reason)
        # Experts are merged by the backend's own layers, which need vLLM's whole configuration.
        if not any(name.rpartition(".")[2] == "experts" for name, _ in built.model.named_modules()):
            return built
    _SERVED_TYPES.add(config.model_type)
    return _build_through_vllm(folder, "transformers", reason)


def _is_pooling(config: Any) -> bool:
    """Whether the backend has a class with another head, or none, for the model: an embedder, a classifier."""
    from vllm.config.model import try_match_architecture_defaults

    found = try_match_architecture_defaults((config.architectures or [""])[0])
    return found is not None and found[1][0] == "pooling"


def _build_stand_in(config: Any, reason: str) -> Built:
    from torch import nn
    from transformers import AutoModel
    from vllm.model_executor.models import transformers as backend
    from vllm.model_executor.models.transformers.base import Base
    from vllm.model_executor.models.transformers.utils import init_on_device_without_buffers

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

    def load(weights: Iterable[tuple[str, torch.Tensor]]) -> set[str] | None:
        loaded: set[str] | None = Base.load_weights(served, weights)
        return loaded

    return Built(
        model=served,
        load=load,
        implementation="transformers",
        reason=reason,
        model_class=f"{name} on {type(served.model).__name__}",
        expected=_list_wanted(served, buffers=True),
        mapper=served.hf_to_vllm_mapper,
        stand_in=True,
        aliases=_read_aliases(served),
    )


def _add_head(served: Any) -> None:
    """The head stands beside the base model, as in vLLM's CausalMixin; tied, it *is* the input embedding."""
    embedding = served.model.get_input_embeddings()
    served.lm_head = torch.nn.Linear(
        served.text_config.hidden_size, served.text_config.vocab_size, bias=False, device="meta"
    )
    if served._get_tie_word_embeddings():
        served.lm_head.weight = embedding.weight
        served.skip_prefixes.append("lm_head.")


def _build_through_vllm(folder: str, model_impl: str, reason: str | None = None) -> Built:
    """The whole way that an engine goes, up to the weights: its configuration, its registry, its class."""
    from vllm.config import set_current_vllm_config
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.model_executor.models import registry
    from vllm.utils.torch_utils import set_default_torch_dtype

    # It asks about a class in a process of its own, lest this one touches a device: 9 s each, and here is no device.
    if hasattr(registry, "_run_in_subprocess"):
        registry._run_in_subprocess = lambda function: function()
    arguments = {"model": folder, "model_impl": model_impl, "skip_tokenizer_init": True, "enforce_eager": True}
    config = EngineArgs(**arguments, load_format="dummy").create_engine_config()
    asked = config.model_config
    native = not asked.using_transformers_backend()
    if reason is None:
        reason = _explain_choice(asked, model_impl, native=native)
    if not native and model_impl == "auto":
        return _build_backend(folder, reason)
    with set_current_vllm_config(config):
        _join_alone()
        config.device_config.device = torch.device("meta")
        with set_default_torch_dtype(asked.dtype), torch.device("meta"):
            model = _initialize(initialize_model, config)
    return Built(
        model=model,
        load=model.load_weights,
        implementation="vllm" if native else "transformers",
        reason=reason,
        model_class=type(model).__name__,
        expected=_list_wanted(model, buffers=False),
        quantized=asked.quantization is not None,
        aliases=_read_aliases(model),
    )


def _initialize(initialize_model: Any, config: Any) -> torch.nn.Module:
    """vLLM's own construction. The compiled operators that a layer only names are stood in for where they are absent.

    A historical version's compiled part does not load beside today's torch, and nothing is ever computed here.
    """
    for _ in range(_MAX_STAND_INS):
        try:
            model: torch.nn.Module = initialize_model(config)
        except AttributeError as error:
            if (absent := _ABSENT_OPERATOR.search(str(error))) is None:
                raise
            setattr(getattr(torch.ops, absent[1]), absent[2], _refuse_to_compute)
            config.compilation_config.static_forward_context.clear()  # the layers that the first attempt signed up
        else:
            return model
    raise RuntimeError(f"more than {_MAX_STAND_INS} compiled operators are absent")


def _refuse_to_compute(*_: Any, **__: Any) -> Any:
    raise RuntimeError("this operator is compiled, and the compiled part is not loaded")


def _explain_choice(asked: Any, model_impl: str, *, native: bool) -> str:
    if model_impl != "auto":
        return "as asked for"
    named = ", ".join(asked.architectures)
    if native:
        return f"vLLM's registry has an implementation of its own for {named}"
    return f"vLLM's registry has no implementation of its own for {named}, so it takes its Transformers backend"


def _join_alone() -> None:
    """A process group of one; model-parallel groups depend on the model (experts), so they are made anew."""
    from vllm.distributed import parallel_state

    if not torch.distributed.is_initialized():
        store = torch.distributed.HashStore()  # nobody else joins: no port, no file
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        parallel_state.init_distributed_environment(world_size=1, rank=0, local_rank=0, backend="gloo")
    parallel_state.destroy_model_parallel()
    parallel_state.ensure_model_parallel_initialized(1, 1)


def _list_wanted(model: torch.nn.Module, *, buffers: bool) -> dict[str, torch.Tensor]:
    """What the model wants from a checkpoint: its parameters, and its persistent buffers where Transformers made it.

    vLLM's own layers keep scales and caches in buffers that no checkpoint holds.
    """
    wanted: dict[str, torch.Tensor] = dict(model.named_parameters())
    for prefix, module in model.named_modules() if buffers else ():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                wanted[f"{prefix}.{name}"] = buffer
    return wanted


def _read_aliases(model: torch.nn.Module) -> dict[str, str]:
    """Second names of a tied weight, as ``{alias: name}``: a checkpoint may hold the weight under either."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: first[id(parameter)] for name, parameter in every if first[id(parameter)] != name}
