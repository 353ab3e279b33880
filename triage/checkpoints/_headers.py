"""Reads the headers of a checkpoint's safetensors files, and nothing but the headers."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from triage.checkpoints._header import read_header
from triage.checkpoints._layout import Layout, find_layout
from triage.checkpoints._refuse import FETCH_WHOLE, quote, refuse
from triage.checkpoints._scan import Scanner
from triage.checkpoints._tensor import Tensor

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Headers:
    """The tensors of a checkpoint without their data.

    ``tensors`` holds them by key, in the order of the files; ``shards`` how many each file holds, by its name;
    ``skipped`` the files of Mistral's own layout that stand beside them and do not count.
    """

    tensors: Mapping[str, Tensor]
    shards: Mapping[str, int]
    skipped: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """What the data of all tensors take."""
        return sum(tensor.bytes for tensor in self.tensors.values())

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, by key."""
        return {key: tensor.shape for key, tensor in self.tensors.items()}

    def tabulate(self) -> pd.DataFrame:
        """One row for each tensor: ``key``, ``dtype``, ``shape`` (tuple), ``shard`` (file name), ``bytes``."""
        import pandas as pd

        columns = {
            "key": list(self.tensors),
            "dtype": [tensor.dtype for tensor in self.tensors.values()],
            "shape": [tensor.shape for tensor in self.tensors.values()],
            "shard": [name for name, count in self.shards.items() for _ in range(count)],
            "bytes": [tensor.bytes for tensor in self.tensors.values()],
        }
        return pd.DataFrame(columns)


def read_headers(path: Path) -> Headers:
    """The tensors of a checkpoint, from its headers alone; made for hundreds of thousands of them.

    ``path`` is a ``.safetensors`` file, an index, or a folder; in a folder an index decides which files count, else
    all do. Raises `CheckpointError` for anything that is not whole: the message names the file and the place.
    Format: https://github.com/huggingface/safetensors#format

    >>> import tempfile; from safetensors.numpy import save_file; import numpy as np
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_file({"head.weight": np.zeros((2, 3), "float32")}, folder / "model.safetensors")
    >>> dict(read_headers(folder).tensors)
    {'head.weight': Tensor(dtype='F32', shape=(2, 3), bytes=24)}
    """
    layout = find_layout(path)
    scanner = Scanner()
    tensors: dict[str, Tensor] = {}
    shards: dict[str, int] = {}
    with _pause_collector():
        for name, shard in layout.shards.items():
            found = read_header(shard.path, scanner, target=shard.target)
            before = len(tensors)
            tensors |= found
            shards[name] = len(found)
            if len(tensors) != before + len(found):
                _refuse_twins(path, tensors, shards, found)
    _check_index(layout, tensors, shards)
    return Headers(tensors=tensors, shards=shards, skipped=layout.skipped)


def read_checkpoint(path: Path) -> pd.DataFrame:
    """The tensors of a checkpoint, from its headers alone: one row each, in the order of the files.

    Columns: ``key``, ``dtype`` (safetensors' names), ``shape`` (tuple), ``shard`` (file name), ``bytes``. Reads and
    raises as `read_headers` does.

    >>> import tempfile; from safetensors.numpy import save_file; import numpy as np
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_file({"head.weight": np.zeros((2, 3), "float32")}, folder / "model.safetensors")
    >>> read_checkpoint(folder).to_dict("records")
    [{'key': 'head.weight', 'dtype': 'F32', 'shape': (2, 3), 'shard': 'model.safetensors', 'bytes': 24}]
    """
    return read_headers(path).tabulate()


@contextmanager
def _pause_collector() -> Iterator[None]:
    """No collection meanwhile: it would look through a growing heap again and again, which holds no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _name_shards(tensors: Mapping[str, Tensor], shards: Mapping[str, int]) -> dict[str, str]:
    """The file of each tensor."""
    names = (name for name, count in shards.items() for _ in range(count))
    return dict(zip(tensors, names, strict=True))


def _refuse_twins(
    path: Path, tensors: Mapping[str, Tensor], shards: Mapping[str, int], found: Mapping[str, Tensor]
) -> None:
    """The last file of ``shards`` holds a key that an earlier one holds too."""
    *earlier, (last, _) = shards.items()
    homes = zip(tensors, (name for name, count in earlier for _ in range(count)), strict=False)
    key, home = next((key, home) for key, home in homes if key in found)
    folder = path if path.is_dir() else path.parent
    refuse(folder / last, f"the tensor {quote(key)} is in {home} too", hint="Keep one of the two files.")


def _check_index(layout: Layout, tensors: Mapping[str, Tensor], shards: Mapping[str, int]) -> None:
    """The index and the files must say the same: loaders trust either the one or the other."""
    if layout.index is None:
        return
    path, index = layout.index
    homes = _name_shards(tensors, shards)
    if homes == index:
        return
    for key, name in index.items():
        if homes.get(key) != name:
            refuse(path, f"the index places {quote(key)} in {name}, which does not hold it", hint=FETCH_WHOLE)
    key = next(key for key in tensors if key not in index)
    refuse(path, f"{homes[key]} holds {quote(key)}, which the index does not name", hint=FETCH_WHOLE)
