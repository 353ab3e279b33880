"""unknown: somebody kills it, and the kernel says nothing of memory."""

import os
import signal

os.kill(os.getpid(), signal.SIGKILL)
