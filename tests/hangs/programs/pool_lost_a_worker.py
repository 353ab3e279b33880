"""host_deadlock: a pool waits for the result of a worker that was killed while it worked."""

import multiprocessing
import os
import signal


def work(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, range(8), chunksize=1)
