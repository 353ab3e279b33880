"""Vision-language models without weights, for ``try_rules.py``: Transformers' own, and vLLM's backend around them.

Each is built on the meta device from its own configuration's defaults, with few layers. A shape costs nothing there,
and hidden sizes stay as they are: cut down, they break the rules of half the models about heads.
"""

import copy
from collections.abc import Iterator
from typing import Any

_FEWEST_LAYERS = (2, 4, 8, None)  # None: as many as the default has
_EXPERTS = {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"}
_FEWEST_EXPERTS = 16
_MAPPINGS = ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES")


def list_architectures() -> dict[str, str]:
    """``{model type: class}`` of all that Transformers maps to image-and-text models."""
    from transformers.models.auto import modeling_auto

    found: dict[str, str] = {}
    for mapping in _MAPPINGS:
        for name, model_class in getattr(modeling_auto, mapping, {}).items():
            if mapping == _MAPPINGS[0] or sees(name):
                found.setdefault(name, model_class if isinstance(model_class, str) else model_class[0])
    return found


def sees(name: str) -> bool:
    """Whether a model that takes several kinds of input takes images, by the configurations that it is made of."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    left, seen = [CONFIG_MAPPING[name]], set()
    while left:
        config = left.pop()
        for part, below in (getattr(config, "sub_configs", None) or {}).items():
            if "vision" in part:
                return True
            if below not in seen:
                seen.add(below)
                left.append(below)
    return False


def build_config(name: str, layers: int | None) -> Any:
    """The default configuration of a model type with few layers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[name]()
    for part in walk_configs(config, set()):
        mend(part)
        if layers is not None:
            shrink(part, layers)
    return config


def walk_configs(config: Any, seen: set[int]) -> Iterator[Any]:
    """A configuration and those that it holds, each once."""
    from transformers import PretrainedConfig

    if id(config) in seen:
        return
    seen.add(id(config))
    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            yield from walk_configs(value, seen)


def mend(config: Any) -> None:
    """Some defaults do not build: a padding token beyond the vocabulary, heads that do not divide the hidden size."""
    values = vars(config)
    padding, vocabulary = values.get("pad_token_id"), values.get("vocab_size")
    if isinstance(padding, int) and isinstance(vocabulary, int) and padding >= vocabulary:
        config.pad_token_id = 0
    heads, hidden = values.get("num_attention_heads"), values.get("hidden_size")
    if isinstance(heads, int) and isinstance(hidden, int) and "head_dim" not in values and heads and hidden % heads:
        config.num_attention_heads = next(count for count in range(heads, 0, -1) if hidden % count == 0)


def shrink(config: Any, layers: int) -> None:
    """Cuts the numbers of layers, and the lists that hold one entry for each layer."""
    cut = {
        name: value
        for name, value in vars(config).items()
        if type(value) is int and value > layers and (("layers" in name and "per" not in name) or name == "depth")
    }
    for name in _EXPERTS & vars(config).keys():  # as many as are asked for each token, and a few more
        if type(getattr(config, name)) is int and getattr(config, name) > _FEWEST_EXPERTS:
            setattr(config, name, _FEWEST_EXPERTS)
    for name in cut:
        setattr(config, name, layers)
    for name, value in list(vars(config).items()):
        if isinstance(value, (list, tuple)) and len(value) in cut.values():
            setattr(config, name, type(value)(value[:layers]))


def build_models(name: str, model_class: str) -> tuple[Any, Any]:
    """(vLLM's backend class around the model, the whole model of Transformers), on the meta device."""
    import torch
    import transformers

    error: Exception | None = None
    for layers in _FEWEST_LAYERS:
        try:
            config = build_config(name, layers)
            config.architectures = [model_class]
            with torch.device("meta"):
                whole = getattr(transformers, model_class)(copy.deepcopy(config))
            whole.tie_weights()
            return serve(config), whole
        except Exception as raised:  # noqa: BLE001  a hundred models, each with its own ways to fail: the reason is told
            error = error or raised
    raise error or ValueError("it has no configuration")


def serve(config: Any) -> Any:
    """The class that vLLM's Transformers backend serves the model with, its mapper made, on the meta device."""
    from torch import nn
    from transformers import AutoModel
    from vllm.model_executor.models import transformers as backend
    from vllm.model_executor.models.transformers.utils import init_on_device_without_buffers

    text_config = config.get_text_config()
    name = "TransformersForCausalLM" if config is text_config else "TransformersMultiModalForCausalLM"
    served = object.__new__(getattr(backend, name))
    nn.Module.__init__(served)
    served.config, served.text_config, served.quant_config = config, text_config, None
    served.skip_prefixes, served.skip_substrs = [], []
    served.ignore_unexpected_prefixes, served.ignore_unexpected_suffixes = [], []
    with init_on_device_without_buffers("meta"):
        served.model = AutoModel.from_config(config)
    served.model.tie_weights()
    # The head stands beside the base model, as in vLLM's CausalMixin; tied, it *is* the input embedding.
    hidden, vocabulary = text_config.hidden_size, text_config.vocab_size
    served.lm_head = nn.Linear(hidden, vocabulary, bias=False, device="meta")
    if served._get_tie_word_embeddings():
        served.lm_head.weight = served.model.get_input_embeddings().weight
    served._create_hf_to_vllm_mapper()
    return served


def read_tensors(model: Any) -> dict[str, Any]:
    """The parameters and persistent buffers of a model by name, a tied one once."""
    tensors = dict(model.named_parameters())
    for prefix, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                tensors[f"{prefix}.{name}".lstrip(".")] = buffer
    return tensors


def read_aliases(model: Any) -> set[str]:
    """Second names of tied weights: a checkpoint may hold the weight under either."""
    every = (name for name, _ in model.named_parameters(remove_duplicate=False))
    return set(every) - {name for name, _ in model.named_parameters()}


def read_layouts(whole: Any) -> dict[str, dict[str, list[int]]]:
    """The checkpoints that a model may come as, ``{layout: {key: shape}}``, each set of keys once.

    ``saved`` is what ``save_pretrained`` writes, ``legacy`` has the module levels back that Transformers' conversion
    mapping removes, ``modules`` names the tensors as the modules are named today.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import revert_weight_conversion

    tensors = read_tensors(whole)
    layouts = {"saved": revert_weight_conversion(whole, tensors)}
    whole._weight_conversions = get_model_conversion_mapping(whole, add_legacy=False)
    layouts["legacy"] = revert_weight_conversion(whole, tensors)
    layouts["modules"] = tensors
    distinct: dict[str, dict[str, list[int]]] = {}
    for layout, found in layouts.items():
        shapes = {key: list(found[key].shape) for key in sorted(found)}
        if shapes not in distinct.values():
            distinct[layout] = shapes
    return distinct
