"""A tiny stand-in for ``google/gemma-3-4b-it``: Gemma3 with a SigLIP tower, random weights, real classes and files.

Two variants hold the same tensors and differ in names alone. ``new`` is what Transformers 5.6 and later write, where
the vision tower is ``vision_tower.embeddings…``; ``legacy`` is the layout of the published checkpoints, where it is
``vision_tower.vision_model.embeddings…`` (vLLM #42909, #45478). A third, ``hub``, takes images of the published size:
896 pixels, 4,096 patches, 256 soft tokens (vLLM #44952).
"""

from __future__ import annotations

import json
from pathlib import Path

_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_image>", "<end_of_image>", "<image_soft_token>")
_PAD, _EOS, _BOS, _UNK, _BOI, _EOI, _IMAGE = range(len(_TOKENS))
_NEWLINES = ("\n", "\n\n", "\n\n\n", "\n\n\n\n")  # tokens of Gemma's that vLLM's own gemma3_mm.py looks up
_PATCH_PX = 14
_SMALL = (56, 4)  # pixels and soft tokens of an image: 4 x 4 patches, pooled to 2 x 2
_PUBLISHED = (896, 256)  # google/gemma-3-4b-it: 64 x 64 patches, pooled to 16 x 16
# As in the published template, an image stands for one <start_of_image>; the processor expands it.
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for item in message['content'] %}{% if item['type'] == 'image' %}<start_of_image>"
    "{% elif item['type'] == 'text' %}{{ item['text'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
)
_NEW_TOWER, _LEGACY_TOWER = "vision_tower.", "vision_tower.vision_model."


def build(folder: Path, variant: str) -> None:
    """Writes config, weights, tokenizer and processor. ``variant`` is ``new``, ``legacy`` or ``hub``."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    image_px, tokens_per_image = _PUBLISHED if variant == "hub" else _SMALL
    vocabulary_size = _write_tokenizer(folder)
    torch.manual_seed(0)
    config = Gemma3Config(
        text_config={
            "vocab_size": vocabulary_size,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,  # the smallest that vLLM's CPU attention takes
            "query_pre_attn_scalar": 32,
            "sliding_window": 64,
            "max_position_embeddings": 2048,
            "pad_token_id": _PAD,
            "eos_token_id": _EOS,
            "bos_token_id": _BOS,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": image_px,
            "patch_size": _PATCH_PX,
            "vision_use_head": False,
        },
        mm_tokens_per_image=tokens_per_image,
        boi_token_index=_BOI,
        eoi_token_index=_EOI,
        image_token_index=_IMAGE,
        bos_token_id=_BOS,
        eos_token_id=_EOS,
        pad_token_id=_PAD,
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    _rename_tower(folder / "model.safetensors", legacy=variant == "legacy")
    _write_processor(folder, image_px=image_px, tokens_per_image=tokens_per_image)


def _rename_tower(path: Path, *, legacy: bool) -> None:
    """Brings the tower's names into one layout, whichever of the two the installed Transformers has written."""
    from safetensors.torch import load_file, save_file

    tensors = {}
    for name, tensor in load_file(path).items():
        head, found, rest = name.replace(_LEGACY_TOWER, _NEW_TOWER).partition(_NEW_TOWER)
        tensors[head + (_LEGACY_TOWER if legacy else _NEW_TOWER) + rest if found else name] = tensor
    save_file(tensors, path, metadata={"format": "pt"})


def _write_tokenizer(folder: Path) -> int:
    """A byte-level BPE without merges: any text encodes, one token a byte. Returns the size of the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*_TOKENS, *alphabet, *_NEWLINES])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=_TOKENS[_UNK]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_TOKENS[_BOS]} $A",
        pair=f"{_TOKENS[_BOS]} $A {_TOKENS[_BOS]} $B",
        special_tokens=[(_TOKENS[_BOS], _BOS)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "Gemma3Processor",
            "model_max_length": 2048,
            "pad_token": _TOKENS[_PAD],
            "eos_token": _TOKENS[_EOS],
            "bos_token": _TOKENS[_BOS],
            "unk_token": _TOKENS[_UNK],
            # The processor reads these three from its tokenizer.
            "extra_special_tokens": {
                "boi_token": _TOKENS[_BOI],
                "eoi_token": _TOKENS[_EOI],
                "image_token": _TOKENS[_IMAGE],
            },
            "chat_template": _CHAT_TEMPLATE,
        },
    )
    return len(vocabulary)


def _write_processor(folder: Path, *, image_px: int, tokens_per_image: int) -> None:
    size = {"height": image_px, "width": image_px}
    _write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "Gemma3ImageProcessor",
            "processor_class": "Gemma3Processor",
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "image_seq_length": tokens_per_image,
            "resample": 2,
            "rescale_factor": 1 / 255,
            "size": size,
        },
    )
    _write(
        folder / "processor_config.json",
        {"processor_class": "Gemma3Processor", "image_seq_length": tokens_per_image},
    )


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
