"""host_deadlock: a child wants the lock with which its parent waits for it."""

import multiprocessing
from multiprocessing.synchronize import Lock


def work(lock: Lock) -> None:
    lock.acquire()


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    lock = context.Lock()
    lock.acquire()
    worker = context.Process(target=work, args=(lock,))
    worker.start()
    worker.join()
