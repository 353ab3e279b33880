"""slow_progress: it sleeps, and says so."""

import os
import time

while True:
    os.write(1, b"still here\n")
    time.sleep(0.4)
