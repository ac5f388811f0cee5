"""Pooling: tokens, whole or in pieces, to one vector."""

from collections.abc import Iterable

import torch
from torch import Tensor

from nerula.encoders import Tokens

POOLINGS = {"mean": 1, "stats": 3}
"""Each pooling, and how many values it gives per value of a token."""


def pool(pieces: Iterable[Tokens], kind: str) -> Tensor:
    """Pool (B, T', D) over the valid positions of all pieces to (B, D) or (B, 3 D), float32.

    `mean` is the mean; `stats` is mean, standard deviation and maximum. Zeros where nothing is
    valid.
    """
    sums = [_sums(tokens, kind) for tokens in pieces]
    count = torch.stack([one[0] for one in sums]).sum(0).clamp(min=1)
    mean = torch.stack([one[1] for one in sums]).sum(0) / count
    if kind == "mean":
        return mean
    squares = torch.stack([one[2] for one in sums]).sum(0) / count
    deviation = (squares - mean.square()).clamp(min=1e-8).sqrt()
    peak = torch.stack([one[3] for one in sums]).amax(0)
    anything = torch.isfinite(peak)
    return torch.cat([mean, deviation * anything, peak.masked_fill(~anything, 0.0)], dim=1)


def _sums(tokens: Tokens, kind: str) -> list[Tensor]:
    """What pieces contribute: count and sum; for `stats` the squares and the maximum too."""
    values, valid = tokens.values.float(), tokens.valid.unsqueeze(-1)
    visible = values * valid
    sums = [valid.sum(1), visible.sum(1)]
    if kind == "stats":
        sums += [visible.square().sum(1), values.masked_fill(~valid, -torch.inf).amax(1)]
    return sums
