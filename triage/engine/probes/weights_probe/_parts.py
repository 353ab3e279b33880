"""Under which names a loader fills the parts of a fused parameter: it is asked, one made-up tensor after another."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from ._flow import Flow, Region
from ._load import Load, Outcome, judge, try_keys
from ._names import Names, note_names
from ._needs import Parts, count_elements

_MOST_ASKED = 1000  # names in one run; each is a call of the whole model's loader
_EXPERTS = "experts"


class PartAsker:
    """Finds names of parts for parameters that no layer tells of.

    Which names are worth asking about is guessed from the model's own ``packed_modules_mapping`` and
    ``get_expert_mapping``, and from the stems of
    the keys that reach nothing; what counts is whether the loader puts such a tensor into the parameter.
    """

    def __init__(
        self,
        load: Load,
        model: torch.nn.Module,
        places: Mapping[str, torch.Tensor],
        lost: Mapping[str, Sequence[int]],
    ) -> None:
        self._load = load
        self._places = places
        self._lost = lost  # shapes by stem
        self._packed = _read_packed(model)
        self._experts = _read_experts(model)
        self._left = _MOST_ASKED

    def ask(self, name: str) -> Parts:
        """The parts of a parameter that a name was found for."""
        parts: Parts = {}
        wanted = self._places[name].numel()
        for guess, shape in self._guess(name):
            if self._left <= 0 or sum(count_elements(region[1]) for region in parts) >= wanted:
                break
            for region in self._ask(guess, shape, name):
                parts.setdefault(region, (guess, name))
        return parts

    def _guess(self, name: str) -> Iterator[tuple[str, Sequence[int]]]:
        """(a name, a shape) to ask about; a wrong shape is mended by what the loader says of it."""
        *path, module, leaf = ["", *name.split(".")]
        wanted = tuple(self._places[name].shape)
        guesses: dict[str, Sequence[int]] = {
            _join(*path, part, leaf): wanted for part in self._packed.get(module, ()) if part != module
        }
        swapped: dict[str, Sequence[int]] = {}
        usual = sorted(self._experts.union(*self._packed.values()))
        for stem, shape in self._lost.items():
            parts = ["", *stem.split(".")]
            if _EXPERTS in parts and _EXPERTS in (modules := [*path, module]):
                before = modules[: modules.index(_EXPERTS)]
                *tail, own, last = parts[parts.index(_EXPERTS) :]
                guesses.setdefault(_join(*before, *tail, own, last), shape)
                swapped |= {_join(*before, *tail, part, last): shape for part in usual if part != own}
            elif parts[-1] == leaf and parts[-2] != module and self._may_be_part(shape, wanted):
                guesses.setdefault(_join(*path, parts[-2], leaf), shape)
        yield from guesses.items()
        yield from swapped.items()

    def _may_be_part(self, shape: Sequence[int], wanted: Sequence[int]) -> bool:
        return len(shape) == len(wanted) and tuple(shape[1:]) == tuple(wanted[1:]) and shape[0] < wanted[0]

    def _ask(self, guess: str, shape: Sequence[int], name: str) -> list[Region]:
        """The parts of ``name`` that the loader fills with a tensor of this name."""
        for _ in range(2):
            self._left -= 1
            flow = Flow(self._places)
            names = Names(renames={guess: guess})
            with note_names(flow, names):
                error = try_keys(self._load, {guess: ("F32", shape)}, flow, names, Outcome())
            if error is None:
                whole = self._places[name].numel()
                writes = flow.writes.get(name, ())
                return [write.region for write in writes if write.region is not None and write.elements < whole]
            status, home, place = judge(guess, error, flow)
            if status != "mismatched" or home != name or place is None or tuple(place) == tuple(shape):
                return []
            shape = place
        return []


def _join(*parts: str) -> str:
    return ".".join(filter(None, parts))


def _read_packed(model: torch.nn.Module) -> dict[str, list[str]]:
    """``{fused module: its parts}``, as the model and the models in it say."""
    packed: dict[str, list[str]] = {}
    for module in model.modules():
        own = getattr(module, "packed_modules_mapping", None)
        for name, parts in own.items() if isinstance(own, dict) else ():
            packed.setdefault(name, []).extend(part for part in parts if part not in packed.get(name, ()))
    return packed


def _read_experts(model: torch.nn.Module) -> set[str]:
    """What the parts of an expert are called, as the model and the models in it say."""
    found = set()
    for module in model.modules():
        if read := getattr(module, "get_expert_mapping", None):
            found |= {str(row[1]).strip(".").rpartition(".")[2] for row in read()}
    return found
