"""host_deadlock: a parent asks again and again whether its stopped child is done."""

import os
import signal
import subprocess
import sys
import time

child = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(0.05)"])
os.kill(child.pid, signal.SIGSTOP)
while child.poll() is None:
    time.sleep(0.5)
