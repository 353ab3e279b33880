"""host_deadlock: a child is stopped by SIGSTOP, and its parent waits for it."""

import os
import signal
import subprocess
import sys

child = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(0.05)"])
os.kill(child.pid, signal.SIGSTOP)
child.wait()
