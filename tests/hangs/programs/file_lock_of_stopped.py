"""host_deadlock: a file is locked by a process that is stopped."""

import fcntl
import os
import signal
import tempfile

with tempfile.TemporaryFile() as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    if os.fork() == 0:
        own = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDWR)
        os.kill(os.getppid(), signal.SIGSTOP)
        fcntl.flock(own, fcntl.LOCK_EX)
        os._exit(0)
    os.wait()
