"""Tokenizers without a ``tokenizer.json``: Transformers converts them, in a process of its own, once.

What comes out is kept in the cache, by the content of the files and the versions that made it.
"""

from __future__ import annotations

import hashlib
import json
import resource
from pathlib import Path
from typing import Any

from triage.engine._probe import run_probe
from triage.engine.versions import read_versions
from triage.errors import EngineError, SnapshotError
from triage.files import find_cache, make_folder, write_atomic

_TIMEOUT_S = 120.0  # importing Transformers is most of it
_MEMORY_BYTES = 16 * 2**30  # of address space, of which torch reserves a lot
_LARGEST_BYTES = 256 * 2**20
_SLOW = ("*.model", "vocab.txt", "vocab.json", "*.tiktoken", "tekken.json", "*.bpe")
# SentencePiece's numbers (sentencepiece_model.proto). Models of words and of characters have no counterpart.
_UNIGRAM, _BPE = _KINDS = (1, 2)
_NORMAL, _USER_DEFINED = 1, 4
_RELEVANT = (*_SLOW, "*.json", "merges.txt")


def find_slow_files(folder: Path) -> tuple[Path, ...]:
    """The files of a folder that Transformers can make a tokenizer of."""
    found = {path for pattern in _SLOW for path in folder.glob(pattern) if path.is_file()}
    return tuple(sorted(found))


def names_own_code(folder: Path) -> bool:
    """Whether a folder says that its tokenizer is a Python class of its own."""
    configs = (_read_json(folder / name) for name in ("tokenizer_config.json", "config.json"))
    return any("AutoTokenizer" in str(config.get("auto_map")) for config in configs)


def convert_slow_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Path:
    """The ``tokenizer.json`` that Transformers makes of a folder without one.

    Code in the folder is run only with ``trust_remote_code``. Raises `SnapshotError` where Transformers cannot.
    """
    patterns = (*_RELEVANT, "*.py") if trust_remote_code else _RELEVANT
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    request = {"folder": str(folder.absolute()), "trust_remote_code": trust_remote_code}
    return _convert("build_from_folder", request, files, source=folder)


def convert_sentencepiece(path: Path) -> Path:
    """The ``tokenizer.json`` of a bare SentencePiece model, which adds no special tokens.

    It encodes as SentencePiece does, but for a combining character that follows white space or a ligature, which the
    tokenizers library drops where a precompiled map is in use, and for a word right beside a user-defined symbol.

    Raises `SnapshotError` for a file that is none, or whose kind (words, characters) has no counterpart.
    """
    return _convert("build_from_sentencepiece", {"path": str(path.absolute())}, [path], source=path)


def _convert(function: str, request: dict[str, Any], files: list[Path], *, source: Path) -> Path:
    target = (
        find_cache() / "tokenizers" / _make_key(function, request.get("trust_remote_code"), files) / "tokenizer.json"
    )
    if target.is_file():
        return target
    # Never the network: what is to be fetched has been fetched before.
    env = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    try:
        content = run_probe(f"triage.engine.conversion:{function}", request, env=env, timeout_s=_TIMEOUT_S)
    except EngineError as error:
        raise SnapshotError(
            f"{source} could not be converted: the process that did it died or took more than {_TIMEOUT_S:g} s.",
            hint="Fetch its files again, or name a folder with a tokenizer.json.",
        ) from error
    if not content:
        raise SnapshotError(
            f"{source} holds no Unigram or BPE model.", hint="Name a SentencePiece .model of one of these two kinds."
        )
    make_folder(target.parent)
    write_atomic(target, content)
    return target


def _make_key(function: str, trusted: bool | None, files: list[Path]) -> str:
    versions = read_versions()
    digest = hashlib.sha256(f"{function} {trusted} {versions['transformers']} {versions['tokenizers']}".encode())
    digest.update(Path(__file__).read_bytes())
    for path in files:
        try:
            if path.stat().st_size > _LARGEST_BYTES:
                raise SnapshotError(f"{path} is too large for a tokenizer.", hint="Fetch the file again.")
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
        except OSError as error:
            raise SnapshotError(f"{path} cannot be read ({error.strerror}).", hint="Name another file.") from error
    return digest.hexdigest()[:24]


def build_from_folder(folder: str, trust_remote_code: bool) -> str:
    """In the process of its own: the JSON that Transformers makes of a folder."""
    _limit_memory()
    if names_own_code(Path(folder)) and not trust_remote_code:
        raise SnapshotError(
            f"{folder} needs Python code of its own (auto_map), which is not run unless it is trusted.",
            hint="Read the code; then add --trust-remote-code.",
        )
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, use_fast=True, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:
        raise _cannot_convert(folder, error) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise SnapshotError(
            f"{folder} gives a {type(tokenizer).__name__}, which has no fast form.",
            hint="Only tokenizers of the tokenizers library can be taken apart.",
        )
    backend.no_padding()
    text: str = backend.to_str()
    return text


def build_from_sentencepiece(path: str) -> str:
    """In the process of its own: the JSON of a SentencePiece model by its own rules; empty for an unknown kind."""
    _limit_memory()
    from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
    from transformers.convert_slow_tokenizer import import_protobuf

    try:
        proto = import_protobuf().ModelProto.FromString(Path(path).read_bytes())
        training, rules = proto.trainer_spec, proto.normalizer_spec
        if training.model_type not in _KINDS or not proto.pieces:
            return ""
        tokenizer = Tokenizer(_build_model(proto))
        symbols = [piece.piece for piece in proto.pieces if piece.type == _USER_DEFINED]
        tokenizer.add_tokens([AddedToken(symbol, normalized=False) for symbol in symbols])
        steps: list[Any] = []
        if rules.precompiled_charsmap:
            steps.append(normalizers.Precompiled(rules.precompiled_charsmap))
        if rules.remove_extra_whitespaces:
            steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme="always" if rules.add_dummy_prefix else "never", split=training.split_by_whitespace
        )
    except Exception as error:
        raise _cannot_convert(path, error) from error
    text: str = tokenizer.to_str()
    return text


def _build_model(proto: Any) -> Any:
    """The model of a SentencePiece file. Transformers' own converter of bare files fails for BPE (5.19)."""
    from tokenizers import models
    from transformers.convert_slow_tokenizer import generate_merges

    training = proto.trainer_spec
    scores = [(piece.piece, piece.score) for piece in proto.pieces]
    if training.model_type == _UNIGRAM:
        return models.Unigram(scores, unk_id=training.unk_id, byte_fallback=training.byte_fallback)
    vocabulary = {piece: number for number, (piece, _) in enumerate(scores)}
    whole = [piece.piece for piece in proto.pieces if piece.type != _NORMAL]  # never made of others
    merges = generate_merges(vocabulary, scores, skip_tokens=whole)
    unknown = proto.pieces[training.unk_id].piece
    return models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=training.byte_fallback)


def _cannot_convert(source: str, error: Exception) -> SnapshotError:
    reason = " ".join(str(error).split("\n", 1)[0].split())[:200].rstrip(".") or type(error).__name__
    return SnapshotError(f"Transformers cannot convert {source}: {reason}.", hint="Fetch its files again.")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > _MEMORY_BYTES:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, hard))
