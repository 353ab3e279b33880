"""Reads a foreign tokenizer, or lets it encode texts, under limits. Run as a script; imports nothing of triage.

``python -P _trial_child.py inspect|encode CPU_S MEMORY_BYTES TOKENIZER [TEXTS]`` prints one JSON object. A file that
makes the Rust library panic, exhausts the memory or never ends takes this process with it and no other.
"""

from __future__ import annotations

import base64
import json
import math
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

_GROWTH = 16  # how many times longer a text may get on its way
_LONGEST_PIECE = 1000  # characters; beyond, a model that tries every length is no longer linear in practice
_LONGEST_WORD = 1000

# Linear by construction: each looks at a character a bounded number of times.
_PLAIN_NORMALIZERS = {"BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Strip"}
_PLAIN_NORMALIZERS |= {"StripAccents"}
_PLAIN_PRE_TOKENIZERS = {"BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace"}
_PLAIN_PRE_TOKENIZERS |= {"Punctuation", "UnicodeScripts", "Whitespace", "WhitespaceSplit"}

# One character or class, repeated or not: nothing to go back to. Everything else a file may say is tried first,
# but for the patterns of GPT-2, GPT-4 and Llama 3, Qwen 2, and o200k, which half of all snapshots carry.
_ONE_ATOM = re.compile(r"(\\?[^\\^$.|?*+()\[\]{}]|\\[sSdDwW]|\\p\{\w+\}|\[[^\[\]&]+\])([+*]|\{\d*,?\d*\})?")
_ENDING = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_HEAD = r"[^\r\n\p{L}\p{N}]?"
KNOWN_PATTERNS = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    rf"{_CONTRACTION}|{_LETTERS}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_ENDING}",
    rf"{_CONTRACTION}|{_LETTERS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_ENDING}",
    rf"{_HEAD}{_UPPER}*{_LOWER}+{_CONTRACTION}?|{_HEAD}{_UPPER}+{_LOWER}*{_CONTRACTION}?|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_ENDING}",
}


def limit(cpu_s: int, memory_bytes: int) -> None:
    """Sets the limits of this process; without a core file, for it would be as large as the memory."""
    wanted = {resource.RLIMIT_CPU: cpu_s, resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_CORE: 0}
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def load(path: Path) -> Tokenizer:
    """The tokenizer, without the padding that a batch gets for the model's sake."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    return tokenizer


def inspect(path: Path) -> dict[str, Any]:
    """Whether the file can be read, why its texts must be tried first (if so), and what does not fit together."""
    tokenizer = load(path)
    definition = json.loads(path.read_bytes())
    for option in ("dropout", "alpha"):
        if definition["model"].get(option):
            raise ValueError(
                f"its model.{option} is {definition['model'][option]}: each time it cuts a text another way"
            )
    risk = next(find_risks(definition), None)
    return {"risk": risk, "problems": list(find_problems(path, definition, tokenizer))}


def find_risks(definition: dict[str, Any]) -> Iterator[str]:
    """What in a definition may need more than linear time or memory."""
    growth = 1.0
    for step in flatten(definition.get("normalizer"), "normalizers"):
        kind = step.get("type")
        if kind == "Replace":
            growth *= measure_growth(step)
            yield from find_slow_pattern("normalizer", step["pattern"])
        elif kind == "Prepend":
            growth *= 1 + len(step["prepend"])
        elif kind == "Precompiled":
            growth *= measure_charsmap(step["precompiled_charsmap"])
        elif kind not in _PLAIN_NORMALIZERS:
            yield f"the normalizer {kind}"
    if growth > _GROWTH:
        yield f"a normalizer that can make a text {growth:.0f} times as long"
    for step in flatten(definition.get("pre_tokenizer"), "pretokenizers"):
        if step.get("type") == "Split":
            yield from find_slow_pattern("pre_tokenizer", step["pattern"])
        elif step.get("type") not in _PLAIN_PRE_TOKENIZERS:
            yield f"the pre_tokenizer {step.get('type')}"
    yield from find_slow_model(definition["model"])
    yield from find_long_ends(definition)


def flatten(step: Any, children: str) -> Iterator[dict[str, Any]]:
    """The innermost steps of nested sequences."""
    if step and step.get("type") == "Sequence":
        for child in step[children]:
            yield from flatten(child, children)
    elif step:
        yield step


def find_slow_pattern(stage: str, pattern: dict[str, str]) -> Iterator[str]:
    regex = pattern.get("Regex")
    if regex is not None and regex not in KNOWN_PATTERNS and not _ONE_ATOM.fullmatch(regex):
        yield f"the {stage}'s regular expression {regex[:80]!r}"


def measure_growth(step: dict[str, Any]) -> float:
    """How many times longer a replacement can make a text."""
    content, pattern = len(step["content"].encode()), step["pattern"]
    if "String" in pattern:
        return max(1.0, content / len(pattern["String"].encode())) if pattern["String"] else math.inf
    return max(1.0, 1.0 + content if pattern["Regex"].endswith(("*", "?", "}")) else float(content))


def measure_charsmap(encoded: str) -> float:
    """How many times longer a precompiled map can make a text: its longest replacement, past the usual 33 bytes."""
    raw = base64.b64decode(encoded)
    replacements = raw[4 + int.from_bytes(raw[:4], "little") :]
    return 1.0 if max(map(len, replacements.split(b"\0")), default=0) <= 64 else math.inf


def find_slow_model(model: dict[str, Any]) -> Iterator[str]:
    if model.get("max_input_chars_per_word", 0) > _LONGEST_WORD:
        yield f"a model that takes words of {model['max_input_chars_per_word']} characters"
    if isinstance(model.get("vocab"), list) and any(len(piece) > _LONGEST_PIECE for piece, _ in model["vocab"]):
        yield f"a model with pieces of more than {_LONGEST_PIECE} characters"


def find_long_ends(definition: dict[str, Any]) -> Iterator[str]:
    """Special tokens by the thousand, texts that are sent several times over, windows that overlap."""
    processor = json.dumps(definition.get("post_processor"))
    if processor.count('"Sequence": {') > 8 or len(processor) > 20_000:
        yield "a post_processor that adds more than a few tokens"
    truncation = definition.get("truncation")
    if truncation and truncation["stride"] * 2 >= truncation["max_length"] > 0 and truncation["stride"]:
        yield "a truncation into windows that overlap"


def find_problems(path: Path, definition: dict[str, Any], tokenizer: Tokenizer) -> Iterator[str]:
    """Where vocabulary, special tokens and model disagree, one sentence each."""
    for token in definition.get("added_tokens") or ():
        actual = tokenizer.token_to_id(token["content"])
        if actual != token["id"]:
            yield (
                f"The added token {token['content']!r} has the id {token['id']} in the file and is encoded as {actual}."
            )
    model = definition["model"]
    vocabulary = model.get("vocab") or {}
    if isinstance(vocabulary, dict):
        if len(set(vocabulary.values())) < len(vocabulary):
            yield "Some pieces of the vocabulary share one id."
        unknown = model.get("unk_token")
        if unknown is not None and unknown not in vocabulary:
            yield f"The unknown token {unknown!r} is not in the vocabulary: other pieces have no encoding."
    elif len({piece for piece, _ in vocabulary}) < len(vocabulary):
        yield "Some pieces of the vocabulary are there twice."
    processor = definition.get("post_processor") or {}
    for name, special in (processor.get("special_tokens") or {}).items():
        for token, number in zip(special["tokens"], special["ids"], strict=False):
            actual = tokenizer.token_to_id(token)
            if actual != number:
                yield f"The post_processor gives {name!r} the id {number}; the vocabulary has {actual}."
    if "AutoTokenizer" in str(read_config(path.with_name("tokenizer_config.json")).get("auto_map")):
        yield "It names a Python class of its own (auto_map), which was not run: this is its tokenizer.json alone."
    embeddings = read_embeddings(path.with_name("config.json"))
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if embeddings is not None and highest >= embeddings:
        yield f"The tokenizer has ids up to {highest}, the model only {embeddings} embeddings (config.json)."


def read_embeddings(config: Path) -> int | None:
    """The ``vocab_size`` of the model beside the tokenizer, None where there is none to be read."""
    content = read_config(config)
    text = content.get("text_config")
    size = content.get("vocab_size") or (text.get("vocab_size") if isinstance(text, dict) else None)
    return size if isinstance(size, int) else None


def read_config(path: Path) -> dict[str, Any]:
    """The settings beside a tokenizer; empty where there are none to be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def encode(path: Path, texts_path: Path) -> dict[str, Any]:
    """Encodes the texts one by one; says which of them fails."""
    tokenizer = load(path)
    for index, text in enumerate(json.loads(texts_path.read_bytes())):
        try:
            tokenizer.encode(text)
        except BaseException as error:  # noqa: BLE001  a panic of the Rust library is no Exception
            return {"error": describe(error), "index": index}
    return {}


def describe(error: BaseException) -> str:
    """An error of the Rust library as one short line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def main() -> None:
    limit(int(sys.argv[2]), int(sys.argv[3]))
    answer: dict[str, Any]
    try:
        answer = (
            inspect(Path(sys.argv[4])) if sys.argv[1] == "inspect" else encode(Path(sys.argv[4]), Path(sys.argv[5]))
        )
    except BaseException as error:  # noqa: BLE001  a panic of the Rust library is no Exception
        answer = {"error": describe(error)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
