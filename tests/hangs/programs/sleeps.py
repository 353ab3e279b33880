"""unknown: it sleeps for long, and would wake up."""

import time

time.sleep(1000)
