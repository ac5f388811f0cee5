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
    parts = [_part(tokens, kind) for tokens in pieces]
    counts, means = (torch.stack(one) for one in list(zip(*parts, strict=True))[:2])
    count = counts.sum(0).clamp(min=1)
    mean = (counts * means).sum(0) / count
    if kind == "mean":
        return mean
    # Deviations from each piece's own mean, then of the means: squares of large numbers that
    # nearly cancel would leave noise.
    squares = torch.stack([part[2] for part in parts]).sum(0)
    squares = squares + (counts * (means - mean).square()).sum(0)
    deviation = (squares / count).clamp(min=1e-8).sqrt()
    peak = torch.stack([part[3] for part in parts]).amax(0)
    anything = torch.isfinite(peak)
    return torch.cat([mean, deviation * anything, peak.masked_fill(~anything, 0.0)], dim=1)


def _part(tokens: Tokens, kind: str) -> list[Tensor]:
    """What a piece contributes: count, mean; for `stats` squared deviations and maximum too."""
    values, valid = tokens.values.float(), tokens.valid.unsqueeze(-1)
    count = valid.sum(1)
    mean = (values * valid).sum(1) / count.clamp(min=1)
    if kind == "mean":
        return [count, mean]
    apart = (values - mean.unsqueeze(1)) * valid
    peak = values.masked_fill(~valid, -torch.inf).amax(1)
    return [count, mean, apart.square().sum(1), peak]
