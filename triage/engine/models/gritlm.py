"""A tiny stand-in for ``parasail-ai/GritLM-7B-vllm``: a bidirectional Mistral in bfloat16 with mean pooling.

Two variants share weights and tokenizer. ``grit`` names the architecture ``GritLM``, whose pooler leaves the tokens of
the instruction out of the mean; vLLM dropped it after 0.28. ``mistral`` names ``MistralModel`` and asks for mean
pooling in the files of sentence-transformers; there the instruction counts.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

_HEAD_DIM = 32  # the smallest that vLLM's CPU attention kernel takes
_MAX_TOKENS = 4096
_SPECIALS = ("<unk>", "<s>", "</s>")
# GritLM's pooler looks for these pieces to find where the instruction ends.
_MARKERS = ("▁<", "<", "|", ">", "user", "embed")
# The words of the upstream test's texts, so that a text has about as many tokens here as in the real vocabulary.
_WORDS = """
A All Among Bitcoin By Cash Compared Current Digital Electronic Embedding GRIT Generation Generative Given GritLM
Instruction Massive Messages Models Notably Peer Proof RAG Representational Retrieval Signatures System Text The They
Tuning We While a abstract accepting ahead all allow an and another any are as at attack attackers available based
basis be been being benchmark benefits best better between both broadcast by can cannot cash chain change changed code
computed controlled cooperating data decision detail digital directly distinguish documents double effort either
electronic embedding etc events financial find for forming freely from generation generative going gone handle
happened hash hashing if in institution institutions instruction instructions into introduce is it language large
largest last leave length long longer longest lost main majority matches message messages minimal model models need
network new no node nodes not of on one ongoing only open or other others outpace outperforms paper parties party
payments peer perform performance performing power prevent problem problems proof propose provide publicly pure purely
range rebuild record redoing reduced rejoin representational required requires requiring resulting retrieval retrieve
scaling scientific sent separate sequence served set sets sharing signatures single size solution speeds spending
state still structure task tasks text than that the their them there these they this through thus timestamps title to
trained training transactions trusted tuning two unification unify up using version via was well were what while will
with without witnessed work
"""


def build(folder: Path, variant: str) -> None:
    """Writes config, weights and tokenizer. ``variant`` is ``grit`` or ``mistral``."""
    import torch
    from transformers import MistralConfig, MistralModel

    tokenizer = _make_tokenizer_json()
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer["model"]["vocab"]),
        hidden_size=16 * _HEAD_DIM,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=_HEAD_DIM,
        max_position_embeddings=_MAX_TOKENS,
        sliding_window=None,
        bos_token_id=_SPECIALS.index("<s>"),
        eos_token_id=_SPECIALS.index("</s>"),
        dtype="bfloat16",  # as the real checkpoint: weights are not rounded again when they are loaded
    )
    config.is_causal = False  # GritLM embeds with bidirectional attention
    MistralModel(config).to(torch.bfloat16).save_pretrained(folder)
    _patch_config(folder / "config.json", "GritLM" if variant == "grit" else "MistralModel")
    _write(folder / "tokenizer.json", tokenizer)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": _MAX_TOKENS,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "</s>",
        },
    )
    if variant == "mistral":
        _write_pooling(folder)


def _patch_config(path: Path, architecture: str) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    _write(path, config | {"architectures": [architecture], "is_causal": False})


def _write_pooling(folder: Path) -> None:
    """Mean pooling, said as sentence-transformers says it."""
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    _write(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir()
    _write(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": 16 * _HEAD_DIM, "pooling_mode_mean_tokens": True},
    )


def _make_tokenizer_json() -> dict[str, Any]:
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    words = sorted(set(_WORDS.split()) - set(_MARKERS))
    characters = sorted(set(string.printable) - set(string.whitespace) - set(_MARKERS) - set(words))
    vocabulary: list[list[Any]] = [[piece, 0.0] for piece in _SPECIALS]
    vocabulary += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]  # a newline is <0x0A>, as GritLM expects
    vocabulary += [[marker, -0.5] for marker in _MARKERS]
    # Whole words score above the characters that spell them, so that Unigram prefers them.
    vocabulary += [[piece, -1.0] for word in words for piece in (word, f"▁{word}")]
    vocabulary += [["▁", -2.0]] + [[character, -9.0] for character in characters]
    first = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text_a, text_b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, token in enumerate(_SPECIALS)
        ],
        "normalizer": None,
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, text_a],
            "pair": [first, text_a, first, text_b],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [_SPECIALS.index("<s>")], "tokens": ["<s>"]}},
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": _SPECIALS.index("<unk>"), "vocab": vocabulary, "byte_fallback": True},
    }


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
