"""host_deadlock: a child waits for a queue that its parent never fills: it waits for the child."""

import multiprocessing


def work(tasks: "multiprocessing.Queue[int]") -> None:
    tasks.get()


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    tasks: "multiprocessing.Queue[int]" = context.Queue()
    worker = context.Process(target=work, args=(tasks,))
    worker.start()
    worker.join()
