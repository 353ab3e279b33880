"""Checkpoint keys: which tensors of a checkpoint reach no parameter, under which versions, and which rule is to blame.

Only headers are read, never a tensor. The names come from vLLM's own mapper and the last word from its own loader.

>>> compare_keys({"tower.model.a": (2,)}, {"tower.a": (2,)}).missing
('tower.a',)
"""

from triage.checkpoints._classify import classify_checkpoint_keys
from triage.checkpoints._compare import (
    KeyDiff,
    KeyStatus,
    Mismatch,
    ModelDiff,
    compare_keys,
    compare_with_model,
    explain_end,
    explain_key,
    fold_layers,
    read_model_impl,
)
from triage.checkpoints._confirm import EngineStart, start_engine
from triage.checkpoints._headers import read_checkpoint
from triage.checkpoints._matrix import Matrix, MatrixRow, compare_versions
from triage.checkpoints._plot import Branch, grow_tree, plot_keys
from triage.checkpoints._tables import (
    summarize_layouts,
    tabulate_misfits,
    tabulate_pairs,
    tabulate_start,
    tabulate_trace,
)
from triage.engine.weights import ModelImpl

__all__ = [
    "Branch",
    "EngineStart",
    "KeyDiff",
    "KeyStatus",
    "Matrix",
    "MatrixRow",
    "Mismatch",
    "ModelDiff",
    "ModelImpl",
    "classify_checkpoint_keys",
    "compare_keys",
    "compare_versions",
    "compare_with_model",
    "explain_end",
    "explain_key",
    "fold_layers",
    "grow_tree",
    "plot_keys",
    "read_checkpoint",
    "read_model_impl",
    "start_engine",
    "summarize_layouts",
    "tabulate_misfits",
    "tabulate_pairs",
    "tabulate_start",
    "tabulate_trace",
]
