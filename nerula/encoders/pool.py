"""Pooling: tokens, whole or in pieces, to one vector."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from nerula.encoders import Encoder, Tokens
from nerula.precision import in_full

POOLINGS = ("mean", "stats", "moments")
LAYERED = ("layers", "steps")
READ_OUTS = (*POOLINGS, *LAYERED)
"""How an embedding is made: of an encoder's tokens, or of all its layers."""
DIRECTIONS = 32
"""Along so many directions tokens are compared by `moments`."""


def read_out(encoder: Encoder, x: Tensor, valid: Tensor, kind: str) -> Tensor:
    """Encode a signal of any length and pool to one vector: its tokens, or all its layers."""
    if kind in LAYERED:
        return pool_layers(encoder.layered(x, valid), kind)
    return pool(encoder.pieces(x, valid), kind)


def read_out_size(encoder: Encoder, kind: str) -> int:
    """Count the values of what is read out."""
    if kind in LAYERED:
        before = sum(width for width, _ in encoder.profile[:-1])
        steps = (kind == "steps") * (before + encoder.width)
        return pooled_size(encoder.width, "moments") + before + steps
    return pooled_size(encoder.width, kind)


def pooled_size(width: int, kind: str) -> int:
    """Count the values that tokens of `width` values are pooled to."""
    if kind == "mean":
        return width
    across = min(DIRECTIONS, width)
    return 3 * width + (kind == "moments") * across * (across + 1) // 2


def learnt(kind: str) -> str:
    """Say how a loss pools: covariances and earlier layers are only for reading out, no weight
    depends on them."""
    return "stats" if kind in ("moments", *LAYERED) else kind


class Part(NamedTuple):
    """What a piece of (B, T', D) contributes; sums are of deviations from its own mean."""

    seen: Tensor
    mean: Tensor
    squares: Tensor
    peak: Tensor
    products: Tensor
    """(B, K, K) along the directions."""


def pool(pieces: Iterable[Tokens], kind: str) -> Tensor:
    """Pool (B, T', D) over the valid positions of all pieces to one vector each.

    `mean` is the mean; `stats` is mean, standard deviation and maximum; `moments` adds how tokens
    vary together, the covariances along some directions. Zeros where nothing is valid. All in
    float32 at least.
    """
    if kind == "mean":
        counts, means = zip(*(_mean(tokens) for tokens in pieces), strict=True)
        return _joined(torch.stack(counts), torch.stack(means))
    return torch.cat(_summary([_part(tokens, kind) for tokens in pieces], kind), dim=1)


def pool_layers(pieces: Iterable[Sequence[Tokens]], kind: str) -> Tensor:
    """`moments` of the last layer, then the standard deviation of each one before it.

    Means of earlier layers say little more, and cost those who have few labels. `steps` adds how
    far the tokens of every layer, the last one too, move from one to the next.
    """
    parts, walks = [], list[Walk]()
    for layers in pieces:
        *before, last = layers
        parts.append((*(_part(tokens, "stats") for tokens in before), _part(last, "moments")))
        walks = walks or [Walk() for _ in layers if kind == "steps"]
        for walk, tokens in zip(walks, layers, strict=False):
            walk.add(tokens)
    *earlier, final = zip(*parts, strict=True)
    found = _summary(final, "moments")
    found += [_summary(layer, "stats")[1] for layer in earlier]
    found += [walk.mean() for walk in walks]
    return torch.cat(found, dim=1)


class Walk:
    """How far the tokens of a layer move from one to the next, from piece to piece as well."""

    def __init__(self) -> None:
        self._sum, self._count = torch.zeros(()), torch.zeros(())
        self._end: Tokens | None = None

    def add(self, tokens: Tokens) -> None:
        """Go on with the next piece."""
        values, valid = in_full(tokens.values), tokens.valid
        if self._end is not None:
            values = torch.cat([self._end.values, values], dim=1)
            valid = torch.cat([self._end.valid, valid], dim=1)
        both = (valid[:, 1:] & valid[:, :-1]).unsqueeze(-1)
        steps = (values[:, 1:] - values[:, :-1]).abs()
        self._sum = self._sum.to(values.device) + (steps * both).sum(1)
        self._count = self._count.to(values.device) + both.sum(1)
        self._end = Tokens(values[:, -1:], valid[:, -1:])

    def mean(self) -> Tensor:
        """Mean absolute difference of neighbours that are both valid (B, D); 0 where none are."""
        return self._sum / self._count.clamp(min=1)


def _summary(parts: Sequence[Part], kind: str) -> list[Tensor]:
    """What is known of the tokens of all pieces: mean, deviation, maximum, covariances."""
    whole = Part(*map(torch.stack, zip(*parts, strict=True)))
    mean = _joined(whole.seen, whole.mean)
    count = whole.seen.sum(0).clamp(min=1)
    # Deviations from each piece's own mean, then of the means: squares of large numbers that
    # nearly cancel would leave noise.
    off = whole.mean - mean
    squares = whole.squares.sum(0) + (whole.seen * off.square()).sum(0)
    deviation = (squares / count).clamp(min=1e-8).sqrt()
    peak = whole.peak.amax(0)
    anything = torch.isfinite(peak)
    found = [mean, deviation * anything, peak.masked_fill(~anything, 0.0)]
    if kind == "moments":
        along = off @ directions(mean.shape[-1], mean.device).to(off.dtype)
        products = whole.products.sum(0)
        products = products + torch.einsum("pb,pbi,pbj->bij", whole.seen[..., 0], along, along)
        row, column = torch.triu_indices(*products.shape[1:], device=mean.device)
        found.append(products[:, row, column] / count)
    return found


@cache
def directions(width: int, device: torch.device) -> Tensor:
    """Orthonormal directions (width, K): cosines, since values of a token have no order.

    As good as random ones (on PTB-XL's fold 9), and without a seed.
    """
    count = min(DIRECTIONS, width)
    with torch.inference_mode(mode=False):  # kept, and a later call may be one of training
        wave = torch.arange(count) * width // count
        place = torch.arange(width, dtype=torch.float64) + 0.5
        angle = math.pi / width * place.unsqueeze(1) * wave
        across = torch.cos(angle) * torch.where(wave == 0, 1.0, math.sqrt(2)) / math.sqrt(width)
        return across.to(device, torch.float32)


def _joined(counts: Tensor, means: Tensor) -> Tensor:
    mean: Tensor = (counts * means).sum(0) / counts.sum(0).clamp(min=1)
    return mean


def _mean(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """How many tokens of a piece are valid (B, 1), and their mean."""
    values, valid = in_full(tokens.values), tokens.valid.unsqueeze(-1)
    count = valid.sum(1)
    return count, (values * valid).sum(1) / count.clamp(min=1)


def _part(tokens: Tokens, kind: str) -> Part:
    values, valid = in_full(tokens.values), tokens.valid.unsqueeze(-1)
    count, mean = _mean(tokens)
    apart = (values - mean.unsqueeze(1)) * valid
    peak = values.masked_fill(~valid, -torch.inf).amax(1)
    products = mean.new_zeros(len(mean), 0, 0)
    if kind == "moments":
        along = apart @ directions(mean.shape[-1], mean.device).to(apart.dtype)
        products = along.transpose(1, 2) @ along
    return Part(count, mean, apart.square().sum(1), peak, products)
