"""A plain transformer (Vaswani et al. 2017), for short sequences."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nerula.encoders.attention import NEVER

SHORT = 256
"""Tokens up to which all weights of the attention are kept, on a CPU in bfloat16."""
NARROW = 16
"""Width of a head up to which the fused step of a CPU is faster in float32 than in bfloat16, and
which narrower heads are filled up to: its products are made for no fewer columns."""


class TransformerBlock(nn.Module):
    """Attention to every visible position, and a network of two layers.

    Normalised before each of the two, or, as first published, `post` their sum with what came in.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        expansion: int = 4,
        *,
        post: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.post, self.dropout = heads, post, dropout
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width),
            nn.GELU(),
            nn.Linear(expansion * width, width),
        )

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Apply to (B, T, width); keys that are not `valid` (B, T) have no weight at all."""
        if self.post:
            x = self.norm(x + self._dropped(self._attend(x, valid)))
            summed: Tensor = self.mlp[0](x + self._dropped(self.mlp[1:](x)))
            return summed
        x = x + self._dropped(self._attend(self.norm(x), valid))
        result: Tensor = x + self._dropped(self.mlp(x))
        return result

    def _attend(self, x: Tensor, valid: Tensor | None) -> Tensor:
        batch, time, width = x.shape
        split = self.qkv(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = (part.contiguous() for part in split.unbind(0))
        bias = None
        if valid is not None:
            bias = torch.zeros(valid.shape, dtype=query.dtype, device=x.device)
            bias = bias.masked_fill_(~valid, NEVER)[:, None, None, :]
        mixed = attend(query, key, value, bias)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        return out

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Mix values (B, heads, T, D) by softmax(q k^T / sqrt(D) + bias), bias (B, 1, 1, T) or None.

    One fused step. But in bfloat16 on a CPU two batched products are two to five times as fast,
    forward and backward, as long as the weights they keep are few; and where they are many and
    the heads narrow, the fused step in float32, with zeros beside the heads, takes half its time.
    """
    time, width = query.shape[2:]
    slow = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if slow and time <= SHORT:
        scores = (query * width**-0.5) @ key.transpose(2, 3)
        mixed: Tensor = (scores if bias is None else scores + bias).softmax(-1) @ value
        return mixed
    if slow and width <= NARROW:
        with torch.autocast("cpu", enabled=False):
            return attend(query.float(), key.float(), value.float(), bias).to(value.dtype)
    if bias is not None:
        bias = bias.to(query.dtype).expand(-1, -1, time, -1)
    spare = NARROW - width if query.device.type == "cpu" else 0
    if spare > 0:
        query, key, value = (F.pad(part, (0, spare)) for part in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=width**-0.5)
    return mixed[..., :width]


def sinusoids(time: int, width: int, device: torch.device) -> Tensor:
    """Positions as sines and cosines of falling frequencies: (time, width)."""
    place = torch.arange(time, device=device, dtype=torch.float32).unsqueeze(1)
    steps = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    angle = place * torch.exp(steps * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]
