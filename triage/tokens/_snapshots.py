"""A tokenizer at one revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tokenizers import Encoding, Tokenizer

from triage.errors import InputError, SnapshotError
from triage.tokens._sources import Source, find_source, find_tokenizer
from triage.tokens._trial import inspect_files, translate_errors, try_texts

_UNASSIGNED = ("\U0010fffd", "\U000e0fff", "\U00050000")  # no vocabulary has them, and none has all of them


@dataclass(frozen=True)
class Snapshot:
    """A tokenizer at one revision. ``name`` is what reports call it; ``folder`` holds the model it belongs to.

    ``problems`` are sentences on what does not fit together in it, such as an added token whose id is another than the
    file says. ``risk`` names a part that can take for ever on some texts, such as a regular expression nobody knows;
    each text is then tried in a child process first, from the file ``source``.
    """

    name: str
    folder: Path
    tokenizer: Tokenizer
    problems: tuple[str, ...] = ()
    risk: str | None = None
    source: Path | None = None
    _tried: set[int] = field(default_factory=set, compare=False, repr=False)

    def count(self, text: str, *, limit: int | None = None, side: Literal["right", "left"] = "right") -> int:
        """Tokens of a text that is sent alone: its pieces, cut to ``limit`` of them, and the special tokens."""
        self.check_texts([text])
        with translate_errors(self.name, text):
            encoding = self.tokenizer.encode(text, add_special_tokens=False)
        if limit is not None:
            encoding.truncate(limit, direction=side)
        special: int = self.tokenizer.num_special_tokens_to_add(False)
        return special + len(encoding)

    def encode(self, text: str) -> Encoding:
        """The encoding of a text, with special tokens and the truncation that the snapshot asks for.

        Raises `InputError` for a text with a lone surrogate, which has no UTF-8 and so no tokens, and `SnapshotError`
        for a text that the snapshot cannot encode.
        """
        self.check_texts([text])
        with translate_errors(self.name, text):
            return self.tokenizer.encode(text)

    def encode_batch(self, texts: Sequence[str], *, offsets: bool = True, special: bool = True) -> list[Encoding]:
        """`encode` for many texts, on all cores; without ``offsets`` it is a third quicker.

        Without ``special`` no special tokens are added.
        """
        self.check_texts(texts)
        with translate_errors(self.name, texts[0] if len(texts) == 1 else None):
            encode = self.tokenizer.encode_batch if offsets else self.tokenizer.encode_batch_fast
            encodings: list[Encoding] = encode(list(texts), add_special_tokens=special)
            return encodings

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raises `InputError` or `SnapshotError` for a text that cannot be encoded; without a risk, this is quick."""
        if not all(map(str.isascii, texts)):
            for text in texts:
                _check_unicode(text)
        if self.risk is None or self.source is None:
            return
        untried = [text for text in texts if hash(text) not in self._tried]
        if untried:
            try_texts(self.source, untried, name=self.name, risk=self.risk)
            self._tried.update(map(hash, untried))


def read_snapshot(folder: Path, *, name: str | None = None) -> Snapshot:
    """The tokenizer of a model folder, of a ``tokenizer.json``, or of a SentencePiece model. Raises `SnapshotError`."""
    return _load([find_tokenizer(folder)], [name or folder.name])[0]


def read_snapshots(*references: str, download: bool = False, trust_remote_code: bool = False) -> tuple[Snapshot, ...]:
    """The snapshots of several models, named as the references are.

    A reference is the folder of a model, a ``tokenizer.json``, a SentencePiece ``.model``, ``owner/name@revision`` in
    the local Hub cache, or ``tiny:NAME``. The network is asked only with ``download``, and then only for what the cache
    does not hold; code that a snapshot brings is run only with ``trust_remote_code``.

    Raises `SnapshotError` for a reference that leads to no tokenizer, and where a name comes twice: a snapshot does not
    drift from itself.

    >>> read_snapshots("tiny:e5-metaspace", "tiny:e5-metaspace")
    Traceback (most recent call last):
    ...
    triage.errors.SnapshotError: tiny:e5-metaspace is named twice. Name two different snapshots.
    """
    for index, reference in enumerate(references):
        if reference in references[:index]:
            raise SnapshotError(f"{reference} is named twice.", hint="Name two different snapshots.")
    sources = [find_source(name, download=download, trust_remote_code=trust_remote_code) for name in references]
    return _load(sources, references)


def _load(sources: Sequence[Source], names: Sequence[str]) -> tuple[Snapshot, ...]:
    """Loads what a child process has loaded before."""
    snapshots = []
    inspections = inspect_files([source.file for source in sources])
    for source, name, inspection in zip(sources, names, inspections, strict=True):
        with translate_errors(name):
            tokenizer = Tokenizer.from_file(str(source.file))
        tokenizer.no_padding()  # a batch is padded for the model's sake; it is no token of the text
        snapshots.append(
            Snapshot(
                name=name,
                folder=source.folder,
                tokenizer=tokenizer,
                problems=inspection.problems,
                risk=inspection.risk,
                source=source.file,
            )
        )
    return tuple(snapshots)


def find_unknown_id(snapshot: Snapshot) -> int | None:
    """The id under which a model files all unknown pieces while it keeps their texts, as Unigram does; None without.

    >>> from tokenizers import models
    >>> find_unknown_id(Snapshot("a", Path(), Tokenizer(models.Unigram([("?", 0.0), ("b", -1.0)], unk_id=0))))
    0
    """
    model = snapshot.tokenizer.model
    for character in _UNASSIGNED:
        try:
            (token,) = model.tokenize(character)
        except Exception:  # noqa: BLE001  no unknown token (tokenizers knows no narrower one), or several bytes
            continue
        if token.value == character and model.id_to_token(token.id) != character:
            number: int = token.id
            return number
    return None


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"The text has a lone surrogate, U+{ord(text[error.start]):04X}, as character {error.start}: "
            "no tokenizer takes it, for it has no UTF-8.",
            hint="Give the text as valid UTF-8.",
        ) from error
