"""host_deadlock: a child wants a file lock that its parent holds, who waits for the child."""

import fcntl
import os
import tempfile

with tempfile.TemporaryFile() as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    if os.fork() == 0:
        own = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDWR)
        fcntl.flock(own, fcntl.LOCK_EX)
        os._exit(0)
    os.wait()
