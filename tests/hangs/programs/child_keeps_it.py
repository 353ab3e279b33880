"""shutdown_hang: the program is done, but multiprocessing waits at its end for a child that sleeps."""

import multiprocessing
import time

if __name__ == "__main__":
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,)).start()
