"""Ranks: the processes that train one model together. One process is the ordinary case.

Started by torchrun, each process takes its share of every batch; gradients are averaged in one
message, which also agrees on whether somebody was told to stop.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


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
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        return cls(distributed.get_rank(), world, int(os.environ.get("LOCAL_RANK", "0")))

    def leave(self) -> None:
        """Part from the others."""
        if self.world > 1:
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Return when all have come here."""
        if self.world > 1:
            distributed.barrier()

    def average(self, gradients: Iterable[Tensor], stop: bool) -> bool:
        """Average gradients in place over the ranks; return whether any rank wants to stop."""
        if self.world == 1:
            return stop
        gradients = list(gradients)
        flag = torch.tensor([float(stop)], device=gradients[0].device)
        flat = torch.cat([flag, *(gradient.reshape(-1).float() for gradient in gradients)])
        distributed.all_reduce(flat)
        flat /= self.world
        position = 1
        for gradient in gradients:
            gradient.copy_(flat[position : position + gradient.numel()].view_as(gradient))
            position += gradient.numel()
        return bool(flat[0] > 0)
