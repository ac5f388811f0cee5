"""Cores: batches side by side, each on a core of its own."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from nerula.errors import UsageError
from nerula.workers import keep_memory

Batch = TypeVar("Batch")


def require(device: str) -> None:
    """Refuse a device that is not here, or that torch does not know."""
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError):  # each kind has its own way
        raise UsageError(f"There is no device {device!r} here.", "Take cpu.") from None


def side_by_side(
    work: Callable[[Batch], torch.Tensor], batches: Iterable[Batch], device: torch.device
) -> list[torch.Tensor]:
    """Apply `work` to every batch without gradients, in order.

    On a CPU, one thread for each core that torch may use takes whole batches: a small network's
    layers are too short to be shared out one by one (on two: 930 windows/s against 650), and where
    another program wants a core, each of them waits for it (a single window: 7 ms against 150).
    Elsewhere one after the other.
    """
    keep_memory()
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    waiting = list(batches)
    inference = torch.inference_mode()(work)
    if cores == 1:
        return [inference(batch) for batch in waiting]
    try:
        if len(waiting) < 2:
            torch.set_num_threads(1)
            return [inference(batch) for batch in waiting]
        with ThreadPoolExecutor(cores, "nerula", torch.set_num_threads, (1,)) as pool:
            return list(pool.map(inference, waiting))
    finally:
        torch.set_num_threads(cores)
