"""slow_progress: it sleeps, and says so."""

import time

while True:
    print("still here", flush=True)
    time.sleep(0.4)
