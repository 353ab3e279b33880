"""``import triage`` takes at most 0.3 s; the peer is ``import papermill``. Both include the interpreter's start."""

import sys

from benchmarks._measurement import Measurement, summarise, time_command


def measure(*, runs: int = 9) -> Measurement:
    """Times a whole ``python -c "import triage"``."""
    median, spread = summarise(time_command([sys.executable, "-c", "import triage"], runs=runs))
    peer, _ = summarise(time_command([sys.executable, "-c", "import papermill"], runs=3))
    return Measurement(
        promise="import triage",
        measured=median,
        limit=0.3,
        unit="s",
        spread=spread,
        peer="import papermill",
        peer_measured=peer,
    )
