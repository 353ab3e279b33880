"""Model folders: the tiny checkpoints that triage builds itself, local folders, and the Hub cache.

A model is named by ``tiny:NAME`` (built on first use, then cached), by the path of a folder, or by
``owner/name@revision`` as the local Hub cache holds it. Nothing is ever downloaded here.
"""

from triage.engine.models._find import check_model_folder, check_weights, find_model, list_tiny_models, read_revision

__all__ = ["check_model_folder", "check_weights", "find_model", "list_tiny_models", "read_revision"]
