"""shutdown_hang: the main thread has ended for good, another thread has not."""

import ctypes
import threading
import time

threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).pthread_exit(None)
