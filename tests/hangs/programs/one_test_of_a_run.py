"""host_deadlock: one test of a run under pytest-xdist waits for an event that nobody sets."""

import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = "import threading\ndef test_passes(): pass\ndef test_hangs(): threading.Event().wait()\n"

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "test_two.py"
    path.write_text(TESTS)
    options = ["-q", "-n", "2", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", folder]
    subprocess.run([sys.executable, "-m", "pytest", *options, path], check=True)
