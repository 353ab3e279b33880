"""Sets a checkpoint's keys beside the model that takes them, under one pair of versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triage.checkpoints._compare import KeyDiff, Mismatch
from triage.checkpoints._headers import read_headers
from triage.engine.history import VersionPair
from triage.engine.weights import End, Fate, ModelImpl, WeightMap, WeightRequest, map_many_weights
from triage.errors import EngineError, InputError


@dataclass(frozen=True, kw_only=True)
class ModelDiff:
    """A checkpoint under one pair of versions: the diff of its keys, and vLLM's own map and loader behind it.

    ``request`` is what vLLM was asked: the tensors of the checkpoint, and whose implementation.
    """

    request: WeightRequest
    diff: KeyDiff
    weights: WeightMap

    @property
    def label(self) -> str:
        """The pair, as reports name it."""
        return self.weights.versions.label

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the checkpoint's tensors, by key."""
        return {key: shape for key, (_, shape) in self.request.tensors.items()}

    def describe(self) -> str:
        """How many keys have each status, in words."""
        return ", ".join(f"{count} {status}" for status, count in self.diff.counts.items() if count)


def compare_with_model(
    checkpoint: Path,
    *,
    versions: VersionPair,
    model: Path | None = None,
    model_impl: ModelImpl = ModelImpl.TRANSFORMERS,
    trace: Sequence[str] = (),
) -> ModelDiff:
    """Sets a checkpoint beside what its model expects under a pair of versions, as that vLLM's own loader takes it.

    ``model`` is the folder with the ``config.json``; without it, the checkpoint's own. ``model_impl`` is whose
    implementation is asked. ``trace`` names the keys to follow rule by rule. Raises `CheckpointError` for a broken
    checkpoint and `EngineError` where the pair cannot say.
    """
    request = request_weights(checkpoint, model=model, model_impl=model_impl, trace=trace)
    (answer,) = map_many_weights([request], versions=versions)
    if isinstance(answer, EngineError):
        raise answer
    return judge_ends(request, answer)


def read_model_impl(text: str) -> ModelImpl:
    """The implementation of this name. Raises `InputError`.

    >>> read_model_impl("vllm").value
    'vllm'
    """
    try:
        return ModelImpl(text)
    except ValueError:
        raise InputError(f"--model-impl does not know {text!r}.", hint=f"Say {', '.join(ModelImpl)}.") from None


def request_weights(
    checkpoint: Path,
    *,
    model: Path | None = None,
    model_impl: ModelImpl = ModelImpl.TRANSFORMERS,
    trace: Sequence[str] = (),
) -> WeightRequest:
    """What vLLM is to be asked about a checkpoint. Raises `CheckpointError`."""
    tensors = read_headers(checkpoint).tensors
    return WeightRequest(
        model=model or (checkpoint if checkpoint.is_dir() else checkpoint.parent),
        tensors={key: (tensor.dtype, tensor.shape) for key, tensor in tensors.items()},
        model_impl=model_impl,
        trace=trace,
    )


def judge_ends(request: WeightRequest, weights: WeightMap) -> ModelDiff:
    """vLLM's answer to a request, with the keys by what its own loader did with them."""
    by_fate: dict[Fate, dict[str, End]] = {fate: {} for fate in Fate}
    for key, end in weights.ends.items():
        by_fate[end.fate][key] = end
    diff = KeyDiff(
        matched={key: end.name or key for key, end in by_fate[Fate.MATCHED].items()},
        missing=tuple(weights.missing),
        unexpected={key: end.name or key for key, end in by_fate[Fate.UNEXPECTED].items()},
        mismatched=tuple(
            Mismatch(
                key=key,
                checkpoint_shape=request.tensors[key][1],
                model_shape=end.shape or (),
                name=end.name or key,
            )
            for key, end in by_fate[Fate.MISMATCHED].items()
        ),
        ignored={key: end.name for key, end in by_fate[Fate.IGNORED].items()},
    )
    return ModelDiff(request=request, diff=diff, weights=weights)
