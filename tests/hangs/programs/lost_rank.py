"""host_deadlock: a rank waits in a collective of gloo for one that was stopped."""

import multiprocessing
import os
import signal
import sys
import tempfile


def run_rank(rank: int, meeting: str) -> None:
    import torch
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    distributed.all_reduce(torch.ones(4))
    if rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    distributed.all_reduce(torch.ones(4))


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=run_rank, args=(rank, f"{folder}/meeting")) for rank in (0, 1)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
    sys.exit()
