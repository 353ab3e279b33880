"""The only room that imports torch, Transformers or vLLM; everything above it speaks of snapshots, keys and plans.

Nothing here is imported by ``import triage``: each module loads its heavy parts when it is called.
"""
