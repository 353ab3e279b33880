"""slow_progress: a child computes in silence, and its parent waits."""

import subprocess
import sys

subprocess.run([sys.executable, "-c", "import hashlib\nwhile True: hashlib.sha256(b'x' * 100_000_000)"], check=True)
