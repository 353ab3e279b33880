"""`triage keys` on a sparse file of 100 GB stays under 200 MB of memory."""

import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._measurement import Measurement

_FILE_BYTES = 100_000_000_000
_RUN = "import sys; from triage.cli import main; main(sys.argv[1:])"


def measure(*, file_bytes: int = _FILE_BYTES) -> Measurement:
    """The largest resident set of the command, and of a Python that opens the file with `safe_open`."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.safetensors"
        header = json.dumps({"a": {"dtype": "U8", "shape": [file_bytes], "data_offsets": [0, file_bytes]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        os.truncate(path, path.stat().st_size + file_bytes)
        own, output = _measure_peak([sys.executable, "-c", _RUN, "keys", str(path), "--json"])
        if json.loads(output)["bytes"] != file_bytes:
            raise RuntimeError("the command did not read the file, so its memory says nothing")
        opened = "import sys; from safetensors import safe_open; safe_open(sys.argv[1], 'numpy').__enter__().keys()"
        peer, _ = _measure_peak([sys.executable, "-c", opened, str(path)])
    return Measurement(
        promise="triage keys on a sparse 100 GB file",
        measured=own,
        limit=200.0,
        unit="MB",
        spread=(own, own),
        peer="Python with safe_open",
        peer_measured=peer,
        peer_unit="MB",
    )


def _measure_peak(command: list[str]) -> tuple[float, bytes]:
    """(the largest resident set in MB, stdout) of a command that is run by a process of its own."""
    report = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-S", "-c", report, *command], capture_output=True, check=True)
    return int(ended.stderr.split()[-1]) * 1024 / 1e6, ended.stdout
