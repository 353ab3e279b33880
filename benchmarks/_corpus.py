"""Tokenizers and texts of a real size, for the benchmarks of token counts: made here, for nothing is downloaded."""

from __future__ import annotations

import json
import random
from itertools import accumulate
from pathlib import Path
from typing import Any

_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"
_PIECES = 50_000


def make_words(count: int, *, seed: int = 0) -> list[str]:
    """Distinct words of two to five syllables."""
    chance = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(chance.choice(_CONSONANTS) + chance.choice(_VOWELS) for _ in range(chance.randint(2, 5)))] = None
    return list(words)


def make_texts(count: int, *, seed: int = 1, words: int | None = None) -> list[str]:
    """Sentences of 5 to 30 words, or of ``words``, as frequent as words are (Zipf).

    One in ten ends in a space, as upstream's does.
    """
    chance = random.Random(seed)
    all_words = make_words(2 * _PIECES)  # the rarer half are no single pieces
    weights = list(accumulate(1 / rank for rank in range(1, len(all_words) + 1)))
    sizes = (words or chance.randint(5, 30) for _ in range(count))
    texts = [" ".join(chance.choices(all_words, cum_weights=weights, k=size)) for size in sizes]
    return [f"{text} " if chance.random() < 0.1 else text for text in texts]


def make_sentences(count: int, *, seed: int = 2) -> list[str]:
    """Sentences of 3 to 15 words of the upstream case, one in ten with its trailing space."""
    chance = random.Random(seed)
    words = ["What", "The", "the", "capital", "of", "France", "is", "Paris", "Berlin", "Germany", "and", "it", "a"]
    texts = [" ".join(chance.choices(words, k=chance.randint(3, 15))) for _ in range(count)]
    return [f"{text} " if chance.random() < 0.1 else text for text in texts]


def write_snapshots(folder: Path) -> tuple[Path, Path]:
    """Two model folders that share a Unigram vocabulary and differ in the pre-tokenizer, as real snapshots do."""
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    sequence = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]}
    pieces = ["<s>", "</s>", "<unk>", "▁", *_CONSONANTS, *_VOWELS, *(f"▁{word}" for word in make_words(_PIECES))]
    ends = {token: {"id": token, "ids": [n], "tokens": [token]} for n, token in enumerate(pieces[:2])}
    single: list[Any] = [{"SpecialToken": {"id": token, "type_id": 0}} for token in ends]
    single.insert(1, {"Sequence": {"id": "A", "type_id": 0}})
    folders = (folder / "metaspace", folder / "whitespace")
    for target, pre_tokenizer in zip(folders, (metaspace, sequence), strict=True):
        definition = {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": pre_tokenizer,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": single,
                "pair": single,
                "special_tokens": ends,
            },
            "decoder": metaspace,
            "model": {
                "type": "Unigram",
                "unk_id": 2,
                "vocab": [[piece, -1.0 - (len(piece) < 3) * 8] for piece in pieces],
                "byte_fallback": False,
            },
        }
        target.mkdir(parents=True)
        (target / "tokenizer.json").write_text(json.dumps(definition, ensure_ascii=False), encoding="utf-8")
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
        (target / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folders
