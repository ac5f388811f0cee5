"""Ranks: the processes that train one model together. One process is the ordinary case.

Started by torchrun, each process takes its share of every batch; losses and gradients are averaged
in one message, which also agrees on whether somebody was told to stop.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from nerula.errors import UsageError
from nerula.precision import in_full
from nerula.together import gathered


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the others."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Which of its machine's accelerators it uses."""

    @classmethod
    def join(cls, device: str) -> "Ranks":
        """Meet the other processes that torchrun started, if it did."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls()
        from torch.distributed.distributed_c10d import PrefixStore  # not in every torch
        from torch.distributed.rendezvous import rendezvous

        store, rank, world = next(rendezvous("env://"))
        if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
            # torchrun keeps its store when it restarts: addresses of the dead must not be found
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            store = PrefixStore(f"attempt {attempt}", store)
        backend = "nccl" if device == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world)
        return cls(distributed.get_rank(), world, int(os.environ.get("LOCAL_RANK", "0")))

    def leave(self) -> None:
        """Part from the others."""
        if self.world > 1:
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Return when all have come here."""
        if self.world > 1:
            distributed.barrier()

    def agree(self, step: int, device: torch.device) -> None:
        """Refuse to go on where not all continue from the same checkpoint."""
        steps = gathered(torch.tensor([step], device=device)).tolist()
        if len(set(steps)) > 1:
            raise UsageError(
                f"The processes see checkpoints of different steps: {steps}.",
                "Put the run's folder on a file system that all machines share.",
            )

    def average(self, tensors: Iterable[Tensor], stop: bool) -> bool:
        """Average losses and gradients in place; return whether any rank wants to stop."""
        if self.world == 1:
            return stop
        tensors = list(tensors)
        flag = torch.tensor([float(stop)], device=tensors[0].device)
        flat = torch.cat([flag, *(in_full(tensor.reshape(-1)) for tensor in tensors)])
        distributed.all_reduce(flat)
        flat /= self.world
        position = 1
        for tensor in tensors:
            tensor.copy_(flat[position : position + tensor.numel()].view_as(tensor))
            position += tensor.numel()
        return bool(flat[0] > 0)
