"""shutdown_hang: the program is done, but a worker of a thread pool never ends its task."""

import threading
from concurrent.futures import ThreadPoolExecutor

ThreadPoolExecutor(1).submit(threading.Event().wait)
