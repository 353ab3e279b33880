"""Follows tensors without data from the checkpoint into the parameters, through whatever a loader does to them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Region = tuple[int, tuple[int, ...], tuple[int, ...]]  # offset, sizes and strides, in elements of the storage
_NO_KEYS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Write:
    """One write into a parameter: the keys whose data it brings, the part that it fills (None: scattered), its size."""

    keys: frozenset[str]
    region: Region | None
    elements: int


class Flow(TorchDispatchMode):  # type: ignore[misc]
    """While active, notes which checkpoint tensors are copied into which part of which parameter.

    A tensor is known by its storage: views share it, and what an operation makes of a tensor inherits its keys. So a
    loader may slice, transpose, chunk, stack or convert as it likes. Meta tensors have storages too, without memory.
    """

    def __init__(self, homes: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._names: dict[int, str] = {}
        self._before: dict[str, int] = {}
        self._homes = dict(homes)
        for name, tensor in homes.items():
            self._before[name] = _identify(tensor)
            self._names.setdefault(_identify(tensor), name)
        self._keys: dict[int, frozenset[str]] = {}
        self._own: dict[int, str] = {}
        self._kept: list[torch.Tensor] = []  # a freed storage's number would be given to another
        self._scalar: frozenset[str] = _NO_KEYS
        self._place: dict[str, int] = {}
        self.fed: list[str] = []
        self.exhausted = False
        self.max_lag = 0  # how many keys the loader had asked for beyond the one that it was writing
        self.writes: dict[str, list[Write]] = {}
        self.reached: dict[str, list[str]] = {}  # parameters by key
        self.taken: dict[str, dict[Region | None, int]] = {}  # by key, the parts of its tensor that were copied
        self.part_shape: dict[str, tuple[int, ...]] = {}  # by key, the shape of the place that it was last copied to

    def feed(
        self, tensors: Iterable[tuple[str, torch.Tensor]], name_key: Callable[[str], str | None]
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Hands tensors to a loader under the names that ``name_key`` gives (None: not at all) and follows them."""
        self.fed, self.exhausted, self.max_lag = [], False, 0
        for key, tensor in tensors:
            if (name := name_key(key)) is None:
                continue
            number = _identify(tensor)
            self._kept.append(tensor)
            self._keys[number] = frozenset([key])
            self._own[number] = key
            self._place[key] = len(self.fed)
            self.fed.append(key)
            yield name, tensor
        self.exhausted = True

    def find_keys(self, tensor: torch.Tensor) -> frozenset[str]:
        """The checkpoint keys whose data a tensor holds."""
        return self._keys.get(_identify(tensor), _NO_KEYS)

    def find_home(self, tensor: torch.Tensor) -> str | None:
        """The parameter that a tensor is, or is a view of."""
        return self._names.get(_identify(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default and args[0].device.type == "meta":
            self._scalar = self.find_keys(args[0])  # a loader reads one value to fill a parameter with it
            return 0.0 if args[0].dtype.is_floating_point else 0
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        written = [
            args[place] if place is not None and place < len(args) else kwargs.get(name)
            for place, name in _list_written(func)
        ]
        result = func(*args, **kwargs)
        targets = {id(target) for target in written}
        sources = [tensor for tensor in tensors if id(tensor) not in targets]
        keys = _NO_KEYS.union(*(self.find_keys(source) for source in sources))
        for target in written:
            if isinstance(target, torch.Tensor):
                self._note_write(target, keys or (self._scalar if not sources else _NO_KEYS), sources)
        if keys:
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor) and _identify(leaf) not in self._names:
                    number = _identify(leaf)
                    if number not in self._own:
                        self._keys[number] = self._keys.get(number, _NO_KEYS) | keys
                        self._kept.append(leaf)
        return result

    def _note_write(self, target: torch.Tensor, keys: frozenset[str], sources: list[torch.Tensor]) -> None:
        name = self.find_home(target)
        if name is None:
            if keys:  # a buffer on the way: what it holds now comes from these keys
                number = _identify(target)
                self._keys[number] = self._keys.get(number, _NO_KEYS) | keys
                self._kept.append(target)
            return
        whole = all(tuple(source.shape) == tuple(target.shape) for source in sources) or len(sources) <= 1
        region = _locate(target) if whole else None
        elements = target.numel() if region else sum(source.numel() for source in sources)
        self._record(name, Write(keys, region, elements), tuple(target.shape))
        for source in sources:
            if key := self._own.get(_identify(source)):
                self.taken.setdefault(key, {})[_locate(source)] = source.numel()
            else:
                for key in self.find_keys(source):
                    self.taken.setdefault(key, {})[None] = -1  # changed on the way: how much of it, cannot be told

    def _record(self, name: str, write: Write, shape: tuple[int, ...]) -> None:
        self.writes.setdefault(name, []).append(write)
        for key in write.keys:
            homes = self.reached.setdefault(key, [])
            if name not in homes:
                homes.append(name)
            self.part_shape[key] = shape
        if len(write.keys) == 1:
            (key,) = write.keys
            self.max_lag = max(self.max_lag, len(self.fed) - 1 - self._place[key])

    def settle(self) -> None:
        """Notes parameters that were not written to but given another tensor (``param.data = loaded``)."""
        for name, tensor in self._homes.items():
            number = _identify(tensor)
            if number != self._before[name]:
                self._before[name] = number
                keys = self._keys.get(number, _NO_KEYS)
                self._names[number] = name
                self._record(name, Write(keys, None, tensor.numel()), tuple(tensor.shape))
                for key in keys:
                    self.taken.setdefault(key, {})[None] = -1

    def forget(self, key: str) -> None:
        """Takes back what a key wrote: it stands for a tensor that another key holds as well."""
        for name in self.reached.pop(key, []):
            self.writes[name] = [write for write in self.writes[name] if key not in write.keys]

    def count_filled(self, name: str) -> int:
        """How many elements of a parameter were written."""
        regions: dict[Region, int] = {}
        scattered = 0
        for write in self.writes.get(name, ()):
            if write.region is None:
                scattered += write.elements
            else:
                regions[write.region] = write.elements
        filled: int = min(self._homes[name].numel(), scattered + sum(regions.values()))
        return filled

    def count_left(self, key: str, elements: int) -> int:
        """How many elements of a key's tensor were left behind although others were copied."""
        taken = self.taken.get(key)
        if not taken or None in taken:
            return 0
        return max(0, elements - sum(taken.values()))


def _identify(tensor: torch.Tensor) -> int:
    number: int = tensor.untyped_storage()._cdata
    return number


def _locate(tensor: torch.Tensor) -> Region:
    return tensor.storage_offset(), tuple(tensor.size()), tuple(tensor.stride())


@cache
def _list_written(func: Callable[..., Any]) -> list[tuple[int | None, str]]:
    """(place, name) of the arguments that an operator writes to."""
    schema: Any = func._schema  # type: ignore[attr-defined]
    return [
        (None if argument.kwarg_only else place, argument.name)
        for place, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
