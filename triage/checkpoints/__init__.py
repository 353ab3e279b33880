"""Checkpoint keys: which tensors of a checkpoint reach no parameter, under which versions, and which rule is to blame.

Only headers are read, never a tensor. The names come from vLLM's own mapper and the last word from its own loader.

>>> compare_keys({"tower.model.a": (2,)}, {"tower.a": (2,)}).missing
('tower.a',)
"""

from triage.checkpoints._answer import KeysAnswer, list_sentences
from triage.checkpoints._classify import classify_checkpoint_keys
from triage.checkpoints._command import answer_keys
from triage.checkpoints._compare import (
    KeyDiff,
    KeyStatus,
    Mismatch,
    compare_keys,
)
from triage.checkpoints._confirm import EngineStart, start_engine
from triage.checkpoints._explain import explain_end, explain_fate, explain_key
from triage.checkpoints._fold import FoldedKeys, fold_keys, fold_layers
from triage.checkpoints._headers import Headers, read_checkpoint, read_headers
from triage.checkpoints._impact import (
    Effect,
    compare_positions,
    describe_dispute,
    judge_outcomes,
    tabulate_impact,
    try_rules,
)
from triage.checkpoints._infer import Inference, SuggestedRule, infer_rules, suggest_rules
from triage.checkpoints._layout import find_checkpoint
from triage.checkpoints._matrix import Matrix, MatrixRow, compare_versions
from triage.checkpoints._model import ModelDiff, compare_with_model, read_model_impl
from triage.checkpoints._plot import Branch, grow_tree, plot_keys
from triage.checkpoints._proposal import Place, Proposal, propose_patch
from triage.checkpoints._retry import TriedRule, try_on_model
from triage.checkpoints._rules import apply_rules, check_rules, parse_rule
from triage.checkpoints._suggest import (
    infer_model_rules,
    list_positions,
    propose_fix,
    tabulate_rules,
    try_dispute,
)
from triage.checkpoints._tables import (
    summarize_layouts,
    tabulate_misfits,
    tabulate_pairs,
    tabulate_start,
    tabulate_trace,
)
from triage.checkpoints._tensor import Tensor
from triage.engine.weights import ModelImpl

__all__ = [
    "Branch",
    "Effect",
    "EngineStart",
    "FoldedKeys",
    "Headers",
    "Inference",
    "KeyDiff",
    "KeyStatus",
    "KeysAnswer",
    "Matrix",
    "MatrixRow",
    "Mismatch",
    "ModelDiff",
    "ModelImpl",
    "Place",
    "Proposal",
    "SuggestedRule",
    "Tensor",
    "TriedRule",
    "answer_keys",
    "apply_rules",
    "check_rules",
    "classify_checkpoint_keys",
    "compare_keys",
    "compare_positions",
    "compare_versions",
    "compare_with_model",
    "describe_dispute",
    "explain_end",
    "explain_fate",
    "explain_key",
    "find_checkpoint",
    "fold_keys",
    "fold_layers",
    "grow_tree",
    "infer_model_rules",
    "infer_rules",
    "judge_outcomes",
    "list_positions",
    "list_sentences",
    "parse_rule",
    "plot_keys",
    "propose_fix",
    "propose_patch",
    "read_checkpoint",
    "read_headers",
    "read_model_impl",
    "start_engine",
    "suggest_rules",
    "summarize_layouts",
    "tabulate_impact",
    "tabulate_misfits",
    "tabulate_pairs",
    "tabulate_rules",
    "tabulate_start",
    "tabulate_trace",
    "try_dispute",
    "try_on_model",
    "try_rules",
]
