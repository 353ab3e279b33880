"""A tiny stand-in for ``intfloat/multilingual-e5-small``: a BERT encoder under a Unigram tokenizer.

The upstream test's words are single pieces, as they are in the real vocabulary, so a sentence has as many pieces here
as there. Two variants share one vocabulary and differ in the pre-tokenizer alone, as two real snapshots do:
``metaspace`` keeps a trailing space as the piece ``▁``; ``whitespace`` splits at white space first and loses it.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

_WORDS = ("What", "The", "the", "capital", "of", "France", "is", "Paris", "Berlin", "Germany", "and", "it", "a")
_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_MAX_TOKENS = 512


def build(folder: Path, variant: str) -> None:
    """Writes config, weights and tokenizer. ``variant`` is ``metaspace`` or ``whitespace``."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer = _tokenizer_json(variant)
    vocabulary = tokenizer["model"]["vocab"]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=_MAX_TOKENS,
        type_vocab_size=2,
        pad_token_id=_SPECIALS.index("<pad>"),
    )
    BertModel(config).save_pretrained(folder)
    _write(folder / "tokenizer.json", tokenizer)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",  # XLMRobertaTokenizer would build a pre-tokenizer of its own
            "model_max_length": _MAX_TOKENS,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "cls_token": "<s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
        },
    )


def _tokenizer_json(variant: str) -> dict[str, Any]:
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    pre_tokenizers = {
        "metaspace": metaspace,
        "whitespace": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
    }
    words = [*_WORDS, *(f"▁{word}" for word in _WORDS)]
    characters = sorted(set(string.printable) - set(string.whitespace))
    # Whole words score above the characters that spell them, so that Unigram prefers them; other text still encodes.
    vocabulary = [[piece, 0.0] for piece in _SPECIALS] + [[word, -1.0] for word in words] + [["▁", -2.0]]
    vocabulary += [[character, -9.0] for character in characters if character not in words]
    first, last = {"id": "<s>", "type_id": 0}, {"id": "</s>", "type_id": 0}
    special, text_a, text_b = "SpecialToken", {"id": "A", "type_id": 0}, {"id": "B", "type_id": 0}
    single = [{special: first}, {"Sequence": text_a}, {special: last}]
    pair = [*single, {special: last}, {"Sequence": text_b}, {special: last}]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": token == "<mask>",
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, token in enumerate(_SPECIALS)
        ],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizers[variant],
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": pair,
            "special_tokens": {
                token: {"id": token, "ids": [_SPECIALS.index(token)], "tokens": [token]} for token in ("<s>", "</s>")
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": _SPECIALS.index("<unk>"), "vocab": vocabulary, "byte_fallback": False},
    }


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
