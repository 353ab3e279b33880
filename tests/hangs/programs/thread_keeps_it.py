"""shutdown_hang: the program is done, but a thread of it waits for ever."""

import threading

threading.Thread(target=threading.Event().wait, name="forgotten").start()
