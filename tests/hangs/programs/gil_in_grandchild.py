"""host_deadlock: a grandchild never leaves a native call that holds the GIL: it takes a mutex twice."""

import ctypes
import multiprocessing
import threading
import time


def hold() -> None:
    libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def run_grandchild() -> None:
    threading.Thread(target=hold).start()
    while True:
        time.sleep(0.1)


def run_child() -> None:
    grandchild = multiprocessing.get_context("fork").Process(target=run_grandchild)
    grandchild.start()
    grandchild.join()


if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=run_child)
    child.start()
    child.join()
