"""Lets a CUDA build of torchvision be imported beside a CPU build of torch.

The default index has only a CUDA build of torchvision for Linux x86-64. Beside torch+cpu its compiled part does not
load, and ``import torchvision`` ends with ``operator torchvision::nms does not exist``. Its Python transforms, all
that vLLM's processors use, need only the two schemas that this file declares before the first import.

Python runs this file at start-up because `triage.engine.environment` puts its folder on the PYTHONPATH of the
engine's processes, children of children included; it then hands over to the sitecustomize that it shadows.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

_libraries: list[object] = []


class _DeclareSchemas:
    """An import hook that acts once, on ``import torchvision``, and finds nothing itself."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name != "torchvision":
            return
        sys.meta_path.remove(_HOOK)
        import torch

        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _libraries.append(library)  # the schemas live as long as this object


_HOOK: Any = _DeclareSchemas  # a finder needs only find_spec, which the type of meta_path does not know


def install() -> None:
    # The hook may have acted already: asking for torchvision's spec, without an import, sets it off too.
    if not _libraries and "torchvision" not in sys.modules and _HOOK not in sys.meta_path:
        sys.meta_path.insert(0, _HOOK)


def _run_shadowed() -> None:
    here = Path(__file__).parent
    rest = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec and spec.loader:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    install()
    _run_shadowed()
