"""Asks one pair of vLLM and Transformers what it makes of a checkpoint's keys. Standard library, torch and that pair.

Run as ``python -P -m weights_probe REQUEST.json ANSWER.json``, with the versions to ask first on the PYTHONPATH and the
folder of this package last; it imports nothing of triage, for what triage requires need not fit beside another
Transformers.

The model's real class is built on the meta device and its own ``load_weights`` is handed every tensor, on the meta
device too. Nothing of the mapper or the loader is written again here: rules are traced by watching the mapper run, and
which key reaches which parameter by watching where the tensors' storage flows.
"""
