"""``triage --help`` takes at most 0.6 s; the peer is ``papermill --help``."""

import sys

from benchmarks._measurement import Measurement, summarise, time_command


def measure(*, runs: int = 9) -> Measurement:
    """Times the whole command."""
    median, spread = summarise(time_command([sys.executable, "-m", "triage.cli", "--help"], runs=runs))
    peer, _ = summarise(time_command([sys.executable, "-m", "papermill", "--help"], runs=3))
    return Measurement(
        promise="triage --help",
        measured=median,
        limit=0.6,
        unit="s",
        spread=spread,
        peer="papermill --help",
        peer_measured=peer,
    )
