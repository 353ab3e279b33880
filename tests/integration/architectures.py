"""Writes tiny checkpoints of several architectures with real ``save_pretrained``: ``architectures.py FOLDER``."""

import sys
from pathlib import Path

import torch
import transformers as hf

_TEXT = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
_IMAGE = {"image_size": 28, "patch_size": 14}


def make_qwen2():
    """Text alone; q, k and v, gate and up are fused by vLLM."""
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(**_TEXT, **_SPECIAL))


def make_qwen2_tied():
    """The head is the embedding."""
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(**_TEXT, **_SPECIAL, tie_word_embeddings=True))


def make_mixtral():
    """Experts w1, w2, w3."""
    return hf.MixtralForCausalLM(hf.MixtralConfig(**_TEXT, **_SPECIAL, num_local_experts=4, num_experts_per_tok=2))


def make_qwen3_moe():
    """Experts gate, up, down."""
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    return hf.Qwen3MoeForCausalLM(hf.Qwen3MoeConfig(**_TEXT, **_SPECIAL, **experts, head_dim=32))


def make_llava():
    """CLIP and Llama."""
    vision = hf.CLIPVisionConfig(**_TOWER, **_IMAGE, projection_dim=32)
    text = hf.LlamaConfig(**_TEXT, **_SPECIAL)
    return hf.LlavaForConditionalGeneration(
        hf.LlavaConfig(text_config=text, vision_config=vision, image_token_index=127)
    )


def make_idefics3():
    """A connector between two towers."""
    text = hf.LlamaConfig(**_TEXT, **_SPECIAL)
    config = hf.Idefics3Config(
        text_config=text, vision_config={**_TOWER, **_IMAGE}, scale_factor=2, image_token_id=127, pad_token_id=0
    )
    return hf.Idefics3ForConditionalGeneration(config)


def make_mistral3():
    """Pixtral and Mistral."""
    vision = hf.PixtralVisionConfig(**_TOWER, **_IMAGE, head_dim=16)
    text = hf.MistralConfig(**_TEXT, **_SPECIAL)
    return hf.Mistral3ForConditionalGeneration(
        hf.Mistral3Config(text_config=text, vision_config=vision, image_token_index=127)
    )


def make_internvl():
    """A tower of its own names, and Qwen2."""
    vision = hf.InternVLVisionConfig(**_TOWER, image_size=[28, 28], patch_size=[14, 14])
    text = hf.Qwen2Config(**_TEXT, **_SPECIAL)
    return hf.InternVLForConditionalGeneration(
        hf.InternVLConfig(text_config=text, vision_config=vision, image_token_id=127)
    )


def make_qwen25vl():
    """qkv that is fused in the checkpoint already."""
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e4}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 64,
        "patch_size": 14,
        "fullatt_block_indexes": [1],
    }
    tokens = {"image_token_id": 120, "video_token_id": 121, "vision_start_token_id": 122, "vision_end_token_id": 123}
    config = hf.Qwen2_5_VLConfig(
        text_config={**_TEXT, **_SPECIAL, "rope_parameters": rope}, vision_config=vision, **tokens
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config)


def make_bert_classifier():
    """An encoder with a head that is no language model's."""
    config = hf.BertConfig(vocab_size=128, **_TOWER | {"hidden_size": 64})
    return hf.BertForSequenceClassification(config)


if __name__ == "__main__":
    for name, make in [
        (key.removeprefix("make_"), value) for key, value in globals().items() if key.startswith("make_")
    ]:
        torch.manual_seed(0)
        make().save_pretrained(Path(sys.argv[1]) / name)
