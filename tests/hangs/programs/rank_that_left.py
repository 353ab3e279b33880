"""host_deadlock: a rank waits in a collective of gloo for one that does something else and waits for the first."""

import multiprocessing
import tempfile


def run_rank(rank: int, meeting: str, done: "multiprocessing.Queue[int]") -> None:
    import torch
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    distributed.all_reduce(torch.ones(4))
    if rank == 1:
        done.get()
    distributed.all_reduce(torch.ones(4))
    done.put(rank)


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    done: "multiprocessing.Queue[int]" = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=run_rank, args=(rank, f"{folder}/meeting", done)) for rank in (0, 1)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
