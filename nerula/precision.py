"""What is computed in full where products are in bfloat16: losses, statistics, pooled values."""

import torch
from torch import Tensor


def in_full(x: Tensor) -> Tensor:
    """In float32 at least: float64 stays, so that a test can rule rounding out."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
