"""What a tokenizer's pipeline is known to do with plain text: whether each word is encoded by itself.

Plain text is printable ASCII with single spaces, none of them first: nothing combines, nothing is composed anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from triage.tokens._snapshots import Snapshot
from triage.tokens._trial_child import KNOWN_PATTERNS, flatten

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

# Each leaves plain text as it is, or lowers its case. What a `Precompiled` map does is looked up for every character.
_PLAIN_NORMALIZERS = {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Strip"}
_PLAIN_NORMALIZERS |= {"StripAccents"}
_SPLITTING = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}  # at every single space, whatever stands around it
_PIECEWISE = _SPLITTING | {"ByteLevel", "Digits", "Metaspace", "Punctuation"}  # each looks at one piece at a time
_FRAMES = {"BertProcessing", "ByteLevel", "RobertaProcessing"}  # around the text, whatever it is


def is_plain(text: str) -> bool:
    """Whether a text is printable ASCII with single spaces, none of them first.

    >>> is_plain("a b "), is_plain("a  b"), is_plain(" a"), is_plain("")
    (True, False, False, False)
    """
    return text[:1] > " " and text.isascii() and text.isprintable() and "  " not in text


def find_breaks(snapshot: Snapshot) -> frozenset[str] | None:
    """Strings, in lower case, that a plain text must not hold for its words to be encoded one by one.

    Such a text is then encoded as its first word, followed by what each other word adds to any word before it. None
    where the pipeline may look further than one word.

    >>> from pathlib import Path
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> tokenizer = Tokenizer(models.BPE())
    >>> find_breaks(Snapshot("a", Path(), tokenizer)) is None
    True
    >>> tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    >>> _ = tokenizer.add_tokens(["<sep>"])
    >>> find_breaks(Snapshot("a", Path(), tokenizer))
    frozenset({'<sep>'})
    """
    normalizer = snapshot.tokenizer.normalizer
    steps = list(flatten(_read(normalizer), "normalizers"))
    splits = list(flatten(_read(snapshot.tokenizer.pre_tokenizer), "pretokenizers"))
    frames = list(flatten(_read(snapshot.tokenizer.post_processor), "processors"))
    if snapshot.risk is not None or not (_split_words(splits) and all(map(_frames_once, frames))):
        return None
    breaks = set(_list_patterns(steps))
    for token in snapshot.tokenizer.get_added_tokens_decoder().values():
        breaks |= {token.content, normalizer.normalize_str(token.content) if normalizer else token.content}
    known = all(step["type"] in {*_PLAIN_NORMALIZERS, "Replace"} for step in steps)
    possible = {text.lower() for text in breaks if _can_occur(text)}
    if not known or any(" " in text for text in possible):
        return None
    changed = [c for c in _PRINTABLE if normalizer and normalizer.normalize_str(c) not in {c, c.lower()}]
    return frozenset(possible | {character.lower() for character in changed})


def _read(component: Any) -> dict[str, Any] | None:
    """The definition of one stage; quicker than that of the whole, which holds the vocabulary."""
    return None if component is None else dict(json.loads(component.__getstate__()))


def _split_words(steps: list[dict[str, Any]]) -> bool:
    """Whether each space ends a word, and nothing afterwards looks further."""
    if not steps or any(step["type"] not in _PIECEWISE for step in steps[1:]):
        return False
    first = steps[0]
    return (
        first["type"] in _SPLITTING
        or (first["type"] == "Metaspace" and first["split"])
        or (first["type"] == "ByteLevel" and first["use_regex"])
        or (first["type"] == "Split" and _splits_as_known(first))
    )


def _splits_as_known(step: dict[str, Any]) -> bool:
    plainly = step["behavior"] == "Isolated" and not step["invert"]
    return plainly and step["pattern"].get("Regex") in KNOWN_PATTERNS


def _frames_once(step: dict[str, Any]) -> bool:
    """Whether special tokens stand around the text, which comes once."""
    if step["type"] == "TemplateProcessing":
        return sum("Sequence" in part for part in step["single"]) == 1
    return step["type"] in _FRAMES


def _list_patterns(steps: Iterable[dict[str, Any]]) -> Iterator[str]:
    """What normalizers replace; a pattern nobody knows could match a space."""
    for step in steps:
        if step["type"] == "Replace" and step["pattern"] != {"Regex": " {2,}"}:
            yield step["pattern"].get("String") or " "


def _can_occur(text: str) -> bool:
    """Whether a plain text can hold this."""
    return text.isascii() and text.isprintable() and "  " not in text and text != ""
