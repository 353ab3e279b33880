"""host_deadlock: a child writes to a pipe that its parent holds and does not read: it waits for the child instead."""

import subprocess
import sys

child = subprocess.Popen([sys.executable, "-c", "print('x' * 1_000_000)"], stdout=subprocess.PIPE)
child.wait()
