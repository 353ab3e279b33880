"""The cosines of the test's four pairs: served by vLLM, and in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from triage.engine.environment import Platform, read_platform
from triage.engine.pooling import embed_in_float64
from triage.engine.server import start_server
from triage.errors import InputError

# The response carries float32: two cosines cannot be told apart below its rounding.
RESOLUTION = 2.0**-23


@dataclass(frozen=True, kw_only=True)
class PairTexts:
    """The texts of the test: every query is compared with every document, each behind its instruction."""

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    query_instruction: str = ""
    document_instruction: str = ""

    def __post_init__(self) -> None:
        if not self.queries or not self.documents:
            raise InputError("There is no pair to compare.", hint="Give at least one query and one document.")

    @property
    def pairs(self) -> tuple[str, ...]:
        """The pairs' names, in the order of all measurements.

        >>> PairTexts(queries=("a", "b"), documents=("c",)).pairs
        ('q0 d0', 'q1 d0')
        """
        return tuple(f"q{q} d{d}" for q in range(len(self.queries)) for d in range(len(self.documents)))


@dataclass(frozen=True, kw_only=True)
class ServedPairs:
    """The cosines of one setting: ``cosines[repeat][pair]``, as served by one real vLLM server.

    Where several servers were started one after the other, ``processes`` tells which of them served each repeat.
    """

    name: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    pairs: tuple[str, ...]
    cosines: tuple[tuple[float, ...], ...]
    prompt_tokens: int
    startup_s: float
    processes: tuple[int, ...] = ()

    def means(self) -> tuple[float, ...]:
        """The mean cosine of each pair over the repeats."""
        return tuple(math.fsum(column) / len(column) for column in zip(*self.cosines, strict=True))

    def spreads(self) -> tuple[float, ...]:
        """Largest minus smallest cosine of each pair over the repeats."""
        return tuple(max(column) - min(column) for column in zip(*self.cosines, strict=True))


def compare_cosines(a: Sequence[float], b: Sequence[float]) -> float:
    """The cosine similarity of two vectors. Raises `InputError` if one is zero or their lengths differ.

    >>> compare_cosines([1.0, 0.0], [0.0, 2.0])
    0.0
    """
    if len(a) != len(b):
        raise InputError(f"Vectors of {len(a)} and {len(b)} numbers have no cosine.", hint="Use one model for both.")
    product = math.fsum(x * y for x, y in zip(a, b, strict=True))
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
    if not norms:
        raise InputError("A zero vector has no cosine.", hint="Look at the embedding of each text.")
    return product / norms


def _compare_all(queries: Sequence[Sequence[float]], documents: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(compare_cosines(query, document) for query in queries for document in documents)


def measure_reference(model: Path, texts: PairTexts, *, timeout_s: float = 1800.0) -> tuple[float, ...]:
    """The cosine of each pair in float64, from the same checkpoint, with the pooling that the server uses.

    Seconds for a tiny checkpoint; minutes, and 8 bytes of memory for each weight, for a real one.
    """
    queries = [texts.query_instruction + query for query in texts.queries]
    documents = [texts.document_instruction + document for document in texts.documents]
    instructions = [texts.query_instruction] * len(queries) + [texts.document_instruction] * len(documents)
    vectors = embed_in_float64(model, [*queries, *documents], instructions=instructions, timeout_s=timeout_s)
    return _compare_all(vectors[: len(queries)], vectors[len(queries) :])


def measure_pairs(
    model: Path,
    texts: PairTexts,
    *,
    name: str,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    repeats: int = 3,
    ready_timeout_s: float = 300.0,
    log_path: Path | None = None,
) -> ServedPairs:
    """Starts a real server with ``args`` and ``env``, embeds the texts ``repeats`` times as the test does, stops it.

    The test sends all documents in one request, then all queries in one. Raises `InputError` for fewer than one
    repeat, and `EngineError` when the server does not start or answer.
    """
    if repeats < 1:
        raise InputError(f"{repeats} repeats measure nothing.", hint="Use at least 1; 3 show the noise.")
    queries = [texts.query_instruction + query for query in texts.queries]
    documents = [texts.document_instruction + document for document in texts.documents]
    cosines = []
    with start_server(model, args=args, env=env, ready_timeout_s=ready_timeout_s, log_path=log_path) as server:
        for _ in range(repeats):
            document_answer, query_answer = server.embed(documents), server.embed(queries)
            cosines.append(_compare_all(query_answer.vectors, document_answer.vectors))
    return ServedPairs(
        name=name,
        args=tuple(args),
        env=dict(env or {}),
        pairs=texts.pairs,
        cosines=tuple(cosines),
        prompt_tokens=document_answer.prompt_tokens + query_answer.prompt_tokens,
        startup_s=server.startup_s,
    )


def check_tolerance(tolerance: float) -> None:
    """Raises `InputError` unless the tolerance is a number from 0 on: no margin to any other means anything.

    >>> check_tolerance(float("nan"))
    Traceback (most recent call last):
    ...
    triage.errors.InputError: The tolerance nan is no distance of two cosines. Give a number from 0 on, like 0.0023.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(
            f"The tolerance {tolerance:g} is no distance of two cosines.", hint="Give a number from 0 on, like 0.0023."
        )


def compare_margins(reference: Sequence[float], served: Sequence[ServedPairs], *, tolerance: float) -> pd.DataFrame:
    """One row for each setting and pair: cosine, deviation from the reference, spread, and the margin that is left.

    ``deviation`` is that of the repeat farthest from the reference, with its sign; ``margin`` is ``tolerance`` minus
    its size, negative where the test would fail; ``spread`` is over the repeats. Raises `InputError` for a tolerance
    that is none.
    """
    check_tolerance(tolerance)
    rows = []
    for setting in served:
        columns = zip(*setting.cosines, strict=True)
        for pair, truth, column, spread in zip(setting.pairs, reference, columns, setting.spreads(), strict=True):
            deviation = max((cosine - truth for cosine in column), key=abs)
            rows.append(
                {
                    "setting": setting.name,
                    "pair": pair,
                    "reference": truth,
                    "cosine": math.fsum(column) / len(column),
                    "deviation": deviation,
                    "spread": spread,
                    "margin": tolerance - abs(deviation),
                }
            )
    return pd.DataFrame(rows, columns=["setting", "pair", "reference", "cosine", "deviation", "spread", "margin"])


def platform_args() -> tuple[str, ...]:
    """Engine arguments that both settings get on this platform.

    On the CPU the model is not compiled: compiling it takes a minute of C++ for each server. A GPU adds nothing.
    """
    return ("--enforce-eager",) if read_platform() is Platform.CPU else ()


def measure_noise(served: Sequence[ServedPairs]) -> float:
    """What a difference of two cosines must exceed: the largest spread over repeats, at least float32's rounding."""
    return max([RESOLUTION, *(spread for setting in served for spread in setting.spreads())])


def measure_effect(a: ServedPairs, b: ServedPairs) -> float:
    """The largest difference between the mean cosines of two settings."""
    return max(abs(x - y) for x, y in zip(a.means(), b.means(), strict=True))


def explain_margins(reference: Sequence[float], served: Sequence[ServedPairs], *, tolerance: float) -> str:
    """Each setting's largest deviation and smallest margin, a sentence each; also the text of `plot_margins`."""
    table = compare_margins(reference, served, tolerance=tolerance)
    sentences = []
    for setting, rows in table.groupby("setting", sort=False):
        worst = min(rows.to_dict("records"), key=lambda row: float(row["margin"]))
        sentences.append(
            f"{setting}: pair {worst['pair']} deviates most from the float64 reference, by {worst['deviation']:+.2e}, "
            f"which leaves {worst['margin']:.2e} of the tolerance {tolerance:g}."
        )
    return " ".join(sentences)
