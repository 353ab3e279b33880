"""Mapping 200,000 keys, self-check and one trace included, is no slower than vLLM's own `WeightsMapper` on them."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import triage.engine.weights
from benchmarks._measurement import Measurement, summarise
from triage.engine.history import find_versions
from triage.engine.models import find_model

_KEYS = 200_000
_RUNS = 7
_PROBES = Path(triage.engine.weights.__file__).with_name("probes")
# Both in one process and in turn, on the mapper of the Gemma3 that vLLM's Transformers backend would serve.
_CHILD = """
import copy, json, sys, time
sys.path.append(sys.argv[1])
from weights_probe._build import build
from weights_probe._watch import map_and_watch
mapper = build(sys.argv[2], "transformers").mapper
tail = "self_attn.q_proj.weight", "mlp.fc1.bias", "layer_norm1.weight"
heads = "vision_tower.vision_model.encoder.layers", "language_model.model.layers"
keys = [f"{heads[i % 2]}.{i}.{tail[i % 3]}" for i in range(int(sys.argv[3]))]
ours, theirs = [], []
for run in range(int(sys.argv[4]) + 1):
    mine, own = copy.deepcopy(mapper), copy.deepcopy(mapper)
    began = time.perf_counter()
    mapped, traces, gaps = map_and_watch(mine, keys, keys[:1])
    middle = time.perf_counter()
    listed = own.apply_list(keys)
    ended = time.perf_counter()
    if list(mapped.values()) != listed or gaps or not traces:
        sys.exit("not the same results")
    ours.append(middle - began)
    theirs.append(ended - middle)
json.dump([ours[1:], theirs[1:]], open(sys.argv[5], "w"))
"""


def measure() -> Measurement:
    """Both, in turn, in one process; the results are compared key by key."""
    with tempfile.TemporaryDirectory() as name:
        answer = Path(name) / "seconds.json"
        command = [
            sys.executable,
            "-P",
            "-c",
            _CHILD,
            _PROBES,
            find_model("tiny:gemma3-legacy"),
            str(_KEYS),
            str(_RUNS),
        ]
        subprocess.run([*command, answer], check=True, capture_output=True, env=find_versions().environment())
        ours, theirs = json.loads(answer.read_text(encoding="utf-8"))
    ratio, spread = summarise([mine / own for mine, own in zip(ours, theirs, strict=True)])
    return Measurement(
        promise=f"map {_KEYS:,} keys, one traced",
        measured=ratio,
        limit=1.0,
        unit="times WeightsMapper",
        spread=spread,
        peer="vLLM's WeightsMapper.apply_list",
        peer_measured=summarise(theirs)[0],
    )
