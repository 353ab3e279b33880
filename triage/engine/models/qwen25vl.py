"""A tiny stand-in for ``Qwen/Qwen2.5-VL-3B-Instruct``: both towers with two layers, the real processor around them.

What start-up profiling decides depends on the processor and on ``max_model_len``, hardly on the weights. The variants
differ in the largest image and video frame that the processor lets through: ``default`` keeps the limits that
Transformers itself sets, ``hub`` those of the repository's ``preprocessor_config.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_HUB_PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384}  # Qwen/Qwen2.5-VL-3B-Instruct
_HEAD_DIM = 32  # the smallest that vLLM's CPU attention kernel takes
_MAX_POSITIONS = 32768

# One image or video per item of a message's content, as the real template renders it.
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif 'video' in part['type'] %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'image' in part['type'] %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(folder: Path, variant: str) -> None:
    """Writes config, weights, tokenizer and processor. ``variant`` is ``default`` or ``hub``."""
    import torch
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = _make_tokenizer()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in _SPECIALS}
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 2 * _HEAD_DIM,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": _MAX_POSITIONS,
            # Time, height and width share half of the head's dimensions.
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e6},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 2 * _HEAD_DIM,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": 2 * _HEAD_DIM,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    limits = {"size": _HUB_PIXELS} if variant == "hub" else {}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**limits),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**limits),
        chat_template=_CHAT_TEMPLATE,
    ).save_pretrained(folder)


def _make_tokenizer() -> Any:
    """Byte-level BPE without merges: every byte is a token, so any text encodes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=list(_SPECIALS),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=_MAX_POSITIONS,
    )
