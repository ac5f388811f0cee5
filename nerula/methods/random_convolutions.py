"""Control: random convolutions, after ROCKET (Dempster et al. 2020,
https://arxiv.org/abs/1910.13051)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nerula.bounds import Count, Positive
from nerula.encoders.scale import scale
from nerula.method import Control, Needs

LENGTHS = (7, 9, 11)
SPAN = 1024
"""No kernel reaches over more samples than this: a window at 100 Hz."""
LARGEST = 100.0
"""mV; no electrode gives more."""
SOFTNESS = 0.01
"""The share of positive values counts over this much instead of jumping at 0: rounding, which
differs between machines and batches, must not flip a sample."""


class RandomConvolutions(Control):
    """A thousand random dilated kernels over the signal, two statistics of each.

    A kernel w of 7, 9 or 11 normal weights, their mean taken out, a bias b uniform in (-1, 1) and
    a dilation d = 2^u, as many of each whole u for which 1,024 samples hold it::

        y = b + sum_k w_k x(t + d k)        share of t with y > 0, and max over t of y

    What is invalid is zero for the kernels, as are the signal's surroundings, and its samples are
    left out of both statistics. The kernels come from the run's seed and are saved as tensors.

    Differs from the paper: amplitude stays, because it carries age and sex (`unit` mV are 1
    instead of each series' deviation); d is a power of 2, so that kernels of one dilation are
    computed together; always padded.

    Arguments
    ---------
    kernels: how many; there are twice as many embedding values.
    unit: mV that count as 1.
    """

    weights: Tensor
    bias: Tensor

    def __init__(self, *, kernels: Count = 1000, unit: Positive = 0.2, leads: Count = 1) -> None:
        super().__init__()
        self.needs, self.unit = Needs(leads=leads), unit
        longest = max(LENGTHS)
        most = int(math.log2((SPAN - 1) / (longest - 1)))
        weights = torch.randn(kernels, leads, longest)
        for row in range(kernels):
            cut = (longest - LENGTHS[row % len(LENGTHS)]) // 2
            part = weights[row, :, cut : longest - cut]
            part -= part.mean()
            weights[row, :, :cut] = weights[row, :, longest - cut :] = 0
        self.register_buffer("weights", weights)
        self.register_buffer("bias", 2 * torch.rand(kernels) - 1)
        ends = [kernels * step // (most + 1) for step in range(most + 2)]
        self.dilated = [(2**u, slice(ends[u], ends[u + 1])) for u in range(most + 1)]

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Both statistics of every kernel: (B, 2 kernels)."""
        x = x.float().nan_to_num().clamp(-LARGEST, LARGEST)
        scaled = scale(x, valid, "scale", self.unit)
        seen = torch.where(valid, scaled.x, 0.0)
        # One recording at a time: what lies between kernels and statistics stays in the cache.
        pairs = zip(seen, valid.any(1), strict=True)
        return torch.stack([self._statistics(one, there) for one, there in pairs])

    def _statistics(self, x: Tensor, there: Tensor) -> Tensor:
        """Of one recording (L, T), at its valid samples (T,)."""
        if not there.any():
            return x.new_zeros(2 * len(self.bias))
        taps, time = self.weights.shape[-1], x.shape[-1]
        shares, peaks = [], []
        for dilation, rows in self.dilated:
            padded = F.pad(x, 2 * [dilation * (taps // 2)])
            columns = [padded[:, dilation * tap :][:, :time] for tap in range(taps)]
            shifted = torch.stack(columns, dim=1).flatten(0, 1)[:, there]
            y = torch.addmm(self.bias[rows, None], self.weights[rows].flatten(1), shifted).float()
            peaks.append(y.amax(1))
            shares.append(y.div_(SOFTNESS).add_(0.5).clamp_(0, 1).mean(1))
        return torch.cat([*shares, *peaks])
