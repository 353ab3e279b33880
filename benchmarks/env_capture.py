"""A capture takes at most 2 s without a GPU, from the shell to the file; the peer is vLLM's own collect_env."""

import sys
import tempfile
from pathlib import Path

from benchmarks._measurement import Measurement, summarise, time_command


def measure(*, runs: int = 5) -> Measurement:
    """The whole command, the interpreter's start included. The peer imports torch and vLLM, which a capture avoids."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "capture.json"
        command = [sys.executable, "-m", "triage.cli", "env", "--out", str(out)]
        median, spread = summarise(time_command(command, runs=runs))
        if "libtorch_cpu.so" not in out.read_text():
            raise RuntimeError("the capture holds no libraries, so its time says nothing")
    peer, _ = summarise(time_command([sys.executable, "-m", "vllm.collect_env"], runs=1))
    return Measurement(
        promise="triage env --out FILE",
        measured=median,
        limit=2.0,
        unit="s",
        spread=spread,
        peer="python -m vllm.collect_env",
        peer_measured=peer,
    )
