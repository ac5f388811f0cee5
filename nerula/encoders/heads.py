"""What methods put on top of an encoder: projection heads, and a moving average of a network."""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from nerula.encoders import Encoder, Tokens
from nerula.encoders.pool import learnt, pool, pooled_size
from nerula.precision import in_full
from nerula.together import BatchNorm


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A head of two layers with batch normalisation between (Grill et al. 2020)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False),
        BatchNorm(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )


class PooledProjection(nn.Module):
    """Tokens, pooled over what is visible, through a head."""

    def __init__(self, width: int, pooling: str, hidden: int, outputs: int) -> None:
        super().__init__()
        self.pooling = learnt(pooling)
        self.head = mlp(pooled_size(width, self.pooling), hidden, outputs)

    def forward(self, tokens: Tokens) -> Tensor:
        """Project to (B, outputs)."""
        projected: Tensor = self.head(pool([tokens], self.pooling))
        return projected


class VectorProjection(nn.Module):
    """One value for each of 128 positions, zero where the view sees nothing, through a head."""

    positions = 128

    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, 1)
        self.head = mlp(self.positions, hidden, outputs)

    def vector(self, tokens: Tokens) -> Tensor:
        """The masked vector of NERULA, section 4.2.2: (B, 128)."""
        values: Tensor = in_full(self.value(tokens.values).squeeze(-1)) * tokens.valid
        if values.shape[1] == self.positions:
            return values
        whole: Tensor = nn.functional.interpolate(values.unsqueeze(1), self.positions)
        return whole.squeeze(1)

    def forward(self, tokens: Tokens) -> Tensor:
        """Project to (B, outputs)."""
        projected: Tensor = self.head(self.vector(tokens))
        return projected


class Target(nn.Module):
    """A moving average of an encoder and its projection, which gets no gradient."""

    def __init__(self, encoder: Encoder, projection: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projection = deepcopy(encoder), deepcopy(projection)
        self.requires_grad_(False)

    @torch.no_grad()
    def follow(
        self, encoder: Encoder, projection: nn.Module, rate: float, progress: float
    ) -> None:
        """`t <- r t + (1 - r) o`, with r from `rate` to 1 along a cosine; buffers are copied."""
        rate = 1 - (1 - rate) * (math.cos(math.pi * progress) + 1) / 2
        online = nn.ModuleList([encoder, projection])
        mine: list[Tensor] = list(self.parameters())
        torch._foreach_lerp_(mine, list[Tensor](online.parameters()), 1 - rate)
        for old, new in zip(self.buffers(), online.buffers(), strict=True):
            old.copy_(new)
