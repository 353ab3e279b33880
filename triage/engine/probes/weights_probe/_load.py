"""Has vLLM's own loader take every key, and says of each what became of it."""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ._flow import Flow
from ._names import Names, note_names

# The ways in which loaders say that a weight does not fit.
LOAD_ERRORS = (ValueError, AssertionError, LookupError, RuntimeError, AttributeError, TypeError)
_EXAMINED = 300  # errors after which keys of a kind that only ever failed are taken to fail alike
_DIGITS = str.maketrans("0123456789", "##########")
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}

Tensor = tuple[str, str, list[int]]  # key, dtype, shape
Load = Callable[[Iterable[tuple[str, torch.Tensor]]], set[str] | None]


class NeedsDataError(Exception):
    """A loader looked at the values of a tensor, which has none here."""


@dataclass
class Outcome:
    """What became of a checkpoint: ``fates`` leads from a key to (status, name, shape of the place or None)."""

    fates: dict[str, tuple[str, str | None, tuple[int, ...] | None]] = field(default_factory=dict)
    loaded: set[str] = field(default_factory=set)
    error: str | None = None


def load_all(load: Load, tensors: Sequence[Tensor], flow: Flow, names: Names) -> Outcome:
    """Feeds every key to the loader. One that it refuses is noted and left out, and the loader is called again.

    Raises `NeedsDataError` where the loader cannot do without values.
    """
    outcome = Outcome()
    shapes = {key: (dtype, shape) for key, dtype, shape in tensors}
    pending = list(shapes)
    failures: dict[tuple[str, str], int] = {}
    errors = 0

    def attempt(keys: Sequence[str]) -> BaseException | None:
        return try_keys(load, {key: shapes[key] for key in keys}, flow, names, outcome)

    with note_names(flow, names):
        while pending:
            error = attempt(pending)
            if error is None:
                break
            if outcome.error is None:
                outcome.error = f"{type(error).__name__}: {str(error) or f'no words, after {flow.fed[-1]}'}"
            if flow.exhausted and flow.max_lag <= 1:
                break  # all were taken one by one: this is about the checkpoint as a whole, and `missing` tells it
            fed, lag = list(flow.fed), flow.max_lag
            culprit = fed[-1]
            if len(pending) > 1:
                culprit, error = _find_culprit(attempt, fed, error)
            outcome.fates[culprit] = judge(culprit, error, flow)
            unread = [] if lag <= 1 and culprit == fed[-1] else [key for key in fed if key not in flow.reached]
            pending = [key for key in [*unread, *pending[len(fed) :]] if key not in outcome.fates]
            errors += 1
            kind = (_fold(culprit), str(shapes[culprit]))
            failures[kind] = failures.get(kind, 0) + 1
            if errors > _EXAMINED:
                pending = [key for key in pending if not _take_alike(key, culprit, shapes, failures, outcome)]
    flow.settle()
    names.settle(shapes)
    for key, (status, _, place) in outcome.fates.items():
        if status == "unexpected":
            outcome.fates[key] = (status, names.stems.get(key, key), place)
    for key, (_, shape) in shapes.items():
        if key not in outcome.fates:
            outcome.fates[key] = _find_fate(key, shape, flow, names)
    return outcome


def try_keys(
    load: Load, tensors: Mapping[str, tuple[str, Sequence[int]]], flow: Flow, names: Names, outcome: Outcome
) -> BaseException | None:
    """Hands tensors, (dtype, shape) by key, to the loader; what it raises, where it raises, is an answer."""

    def make() -> Iterator[tuple[str, torch.Tensor]]:
        for key, (dtype, shape) in tensors.items():
            yield key, torch.empty(shape, dtype=getattr(torch, _DTYPES.get(dtype, "float32")), device="meta")

    names.begin()
    fed = flow.feed(make(), names.name_key)
    try:
        with flow:
            outcome.loaded |= set(load(fed) or ())
    except NotImplementedError as error:
        raise NeedsDataError(str(error)) from error
    except LOAD_ERRORS as error:
        if "meta tensor" in str(error):
            raise NeedsDataError(str(error)) from error
        return error
    return None


def _find_culprit(
    attempt: Callable[[Sequence[str]], BaseException | None], fed: Sequence[str], error: BaseException
) -> tuple[str, BaseException]:
    """The key that the loader stumbled over: the last that it asked for, if it stumbles over that one alone too."""
    alone = attempt(fed[-1:])
    if alone is not None:
        return fed[-1], alone
    low, high = 0, len(fed)  # it takes the first `low` keys, and refuses the first `high`
    while high - low > 1:
        middle = (low + high) // 2
        found = attempt(fed[:middle])
        if found is None:
            low = middle
        else:
            high, error = middle, found
    return fed[high - 1], error


def judge(key: str, error: BaseException, flow: Flow) -> tuple[str, str | None, tuple[int, ...] | None]:
    """Mismatched where the error was raised while the tensor was being put into a parameter, else unexpected."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code.co_name in {"_load_param", "_load_module"}:
            break
        values = [value for value in frame.f_locals.values() if isinstance(value, torch.Tensor)]
        places = [value for value in values if flow.find_home(value)]
        if places and any(key in flow.find_keys(value) for value in values):
            place = next((value for value in places if not isinstance(value, torch.nn.Parameter)), places[0])
            return "mismatched", flow.find_home(place), tuple(place.shape)
    return "unexpected", key, None


def _find_fate(
    key: str, shape: Sequence[int], flow: Flow, names: Names
) -> tuple[str, str | None, tuple[int, ...] | None]:
    homes = flow.reached.get(key)
    if not homes:
        mapped = names.mapped.get(key, key)
        return "ignored", mapped if mapped != key else None, None
    elements = 1
    for size in shape:
        elements *= size
    if flow.count_left(key, elements):  # sliced to fit, without a word
        return "mismatched", homes[0], flow.part_shape[key]
    return "matched", homes[0], None


def _fold(key: str) -> str:
    return key.translate(_DIGITS)


def _take_alike(
    key: str,
    culprit: str,
    shapes: Mapping[str, tuple[str, list[int]]],
    failures: Mapping[tuple[str, str], int],
    outcome: Outcome,
) -> bool:
    """Gives a key the fate of its kind, where the loader has refused several of that kind."""
    if failures.get((_fold(key), str(shapes[key])), 0) < 3 or _fold(key) != _fold(culprit):
        return False
    status, _, place = outcome.fates[culprit]
    outcome.fates[key] = (status, key, place)
    return True
