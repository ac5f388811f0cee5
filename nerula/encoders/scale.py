"""Input scaling, from what is visible alone: nothing hidden may show through a statistic."""

from typing import NamedTuple

import torch
from torch import Tensor

SCALINGS = ("none", "scale", "instance")


class Scaled(NamedTuple):
    """An encoder's input, and the way back."""

    x: Tensor
    """(B, L, T); with `instance` (B, 2 L, T), the second half the logarithm of the size."""
    visible: Tensor
    """The same shape, bool."""
    mean: Tensor
    """(B, L, 1) mV, taken out."""
    size: Tensor
    """(B, L, 1) mV, divided by."""

    def out(self, x: Tensor) -> Tensor:
        """From these units (B, L, T) back to mV."""
        return x * self.size + self.mean

    def into(self, x: Tensor) -> Tensor:
        """From mV (B, L, T) to these units."""
        return (x - self.mean) / self.size


def inputs(leads: int, kind: str) -> int:
    """How many leads an encoder is given for so many leads of signal."""
    return 2 * leads if kind == "instance" else leads


def scale(x: Tensor, visible: Tensor, kind: str, unit: float) -> Scaled:
    """Scale (B, L, T) mV for an encoder.

    `none` leaves mV; `scale` takes out each lead's mean and divides by `unit` mV, so that
    amplitude stays; `instance` divides by each lead's standard deviation and hands its logarithm
    on as another lead.
    """
    count = visible.sum(-1, keepdim=True).clamp(min=1)
    mean = torch.where(visible, x, 0.0).sum(-1, keepdim=True) / count
    if kind == "none":
        return Scaled(x, visible, torch.zeros_like(mean), torch.ones_like(mean))
    if kind == "scale":
        return Scaled((x - mean) / unit, visible, mean, torch.full_like(mean, unit))
    squares = torch.where(visible, x - mean, 0.0).square().sum(-1, keepdim=True)
    size = (squares / count).sqrt().clamp(min=1e-3)
    amplitude = (size / unit).log().expand_as(x)
    both = torch.cat([(x - mean) / size, amplitude], dim=1)
    return Scaled(both, torch.cat([visible, visible], dim=1), mean, size)
