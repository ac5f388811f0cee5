"""Timing, and the physical limits that figures are put beside."""

import gc
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch


def best(run: Callable[[], object], device: torch.device | None = None, repeat: int = 5) -> float:
    """Seconds of the fastest of several runs, after one that does not count."""
    wait = torch.cuda.synchronize if device is not None and device.type == "cuda" else int
    fastest = math.inf
    gc.collect()
    for turn in range(repeat + 1):
        wait()
        begin = time.perf_counter()
        run()
        wait()
        fastest = min(fastest, time.perf_counter() - begin) if turn else math.inf
    return fastest


def product_ceiling(device: torch.device, *, bf16: bool = False) -> float:
    """Floating-point operations per second of one large matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    kind = torch.bfloat16 if bf16 else torch.float32
    a, b = (torch.randn(size, size, dtype=kind, device=device) for _ in range(2))
    return 2 * size**3 / best(lambda: a @ b, device)


def copying_ceiling(folder: Path, size: int = 1 << 28) -> float:
    """Bytes per second, read and written, of copying a file that the page cache holds."""
    path = folder / "cached"
    path.write_bytes(bytes(size))
    held, room = np.memmap(path, mode="r"), np.empty(size, np.uint8)
    return 2 * size / best(lambda: np.copyto(room, held))
