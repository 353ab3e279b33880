"""Foreign tokenizers are tried in a child process first, under limits: a file is data that somebody else wrote.

The Rust library takes most faulty files as an error, but not all: a map it cannot parse panics, a normalizer can make
a text 60 times longer in each of six steps, and a regular expression can go back and forth for days. A child that
dies says so here; this process only loads what a child has loaded before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage.errors import SnapshotError
from triage.processes import Guarded, start_guarded

_CHILD = Path(__file__).with_name("_trial_child.py")
_LARGEST_BYTES = 256 * 2**20  # the largest in use are about 40 MB
_CPU_S = 10  # for a small file or text; a vocabulary of 250,000 pieces loads in 1 s
_CPU_S_PER_MB = 10  # of the file, or of the text, which encodes at about 1 MB/s
_MEMORY_BYTES = 2 * 2**30
_MEMORY_PER_BYTE = 800  # of the file or of the text; an encoding needs about 150


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a child says of a file: why each text must be tried first (None: no need), and what does not fit."""

    risk: str | None
    problems: tuple[str, ...]


def inspect_files(paths: Sequence[Path]) -> tuple[Inspection, ...]:
    """Reads each ``tokenizer.json`` in a child of its own, all at a time.

    Raises `SnapshotError` for one that is too large, that is no tokenizer, or that takes too much time or memory.
    """
    for path in paths:
        _check_file(path)
    children = [_Child("inspect", path, size=path.stat().st_size) for path in paths]
    try:
        answers = [child.read_answer(f"Reading {child.path}") for child in children]
    finally:
        for child in children:
            child.close()
    for path, answer in zip(paths, answers, strict=True):
        if "error" in answer:
            raise SnapshotError(f"{path} is no tokenizer: {answer['error']}.", hint="Fetch the file again.")
    return tuple(Inspection(risk=answer["risk"], problems=tuple(answer["problems"])) for answer in answers)


def try_texts(path: Path, texts: Sequence[str], *, name: str, risk: str) -> None:
    """Encodes the texts in a child. Raises `SnapshotError` where that fails or takes too much time or memory."""
    size = sum(len(text.encode()) for text in texts)
    with tempfile.TemporaryDirectory(prefix="triage-texts-") as folder:
        texts_path = Path(folder, "texts.json")
        texts_path.write_text(json.dumps(list(texts)), encoding="utf-8")
        child = _Child("encode", path, texts_path, size=size + path.stat().st_size)
        try:
            answer = child.read_answer(f"{name} has {risk}, and encoding with it")
        finally:
            child.close()
    if "error" in answer:
        raise _cannot_encode(name, answer["error"], texts[answer["index"]] if "index" in answer else None)


@contextmanager
def translate_errors(name: str, text: str | None = None) -> Iterator[None]:
    """Turns what the Rust library raises while it encodes into a `SnapshotError`."""
    try:
        yield
    except SnapshotError:
        raise
    except Exception as error:  # tokenizers knows no narrower one
        raise _cannot_encode(name, str(error), text) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a panic in Rust; its class has no module to import it from
            raise
        raise _cannot_encode(name, str(error), text) from error


def _cannot_encode(name: str, reason: str, text: str | None) -> SnapshotError:
    shown = "the texts" if text is None else repr(text if len(text) <= 60 else f"{text[:60]}…")
    return SnapshotError(
        f"{name} cannot encode {shown}: {' '.join(reason.split())[:300].rstrip('.')}.",
        hint="Check its tokenizer.json, or give another text.",
    )


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
        regular = path.is_file()
        with path.open("rb") if regular else open(os.devnull, "rb") as file:
            file.read(1)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read ({error.strerror}).", hint="Name another file.") from error
    if not regular:
        raise SnapshotError(f"{path} is not a file.", hint="Name a tokenizer.json, or the folder that holds one.")
    if size > _LARGEST_BYTES:
        raise SnapshotError(
            f"{path} has {size / 2**20:.0f} MB; no tokenizer has more than {_LARGEST_BYTES >> 20}.",
            hint="Fetch the file again.",
        )


class _Child:
    """One run of ``_trial_child.py``; ``size`` are the bytes it has to deal with, by which its limits grow."""

    def __init__(self, task: str, path: Path, *more: Path, size: int) -> None:
        self.path = path
        self._cpu_s = _CPU_S + _CPU_S_PER_MB * size // 10**6
        self._memory_bytes = _MEMORY_BYTES + _MEMORY_PER_BYTE * size
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        limits = (str(self._cpu_s), str(self._memory_bytes))
        self._process: Guarded = start_guarded(
            [sys.executable, "-P", _CHILD, task, *limits, path.absolute(), *more],
            # One thread: each reserves address space, and would count against the limit on a node with 200 cores.
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "RUST_BACKTRACE": "0"},
            stdout=self._output.fileno(),
            stderr=subprocess.DEVNULL if self._log is None else self._log.fileno(),
            grace_s=1.0,
        )

    def read_answer(self, doing: str) -> Any:
        """What the child prints. Raises `SnapshotError`, beginning with ``doing``, where it dies or takes too long."""
        try:
            code = self._process.wait(timeout_s=3.0 * self._cpu_s + 30)
        except TimeoutError:
            code = None
        self._output.seek(0)
        answer = self._output.read()
        if code == 0 and answer:
            return json.loads(answer)
        self._log.seek(0)
        said = self._log.read().decode(errors="replace")
        if code is None or -code in {9, 24}:  # SIGXCPU, or SIGKILL at its hard limit
            took = f"takes more than {self._cpu_s} s"
        elif "memory" in said.lower():
            took = f"needs more than {self._memory_bytes / 2**30:.1f} GB of memory"
        else:
            lines = [line.strip() for line in said.splitlines() if line.strip()]
            took = f"ends the process (exit code {code}{': ' + lines[0][:200] if lines else ''})"
        raise SnapshotError(f"{doing} {took}.", hint="Do not use this tokenizer.json; fetch the file again.")

    def close(self) -> None:
        self._process.end()
        self._output.close()
        self._log.close()
