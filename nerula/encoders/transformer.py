"""A plain transformer (Vaswani et al. 2017, normalised before each layer), for short sequences."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nerula.encoders.attention import NEVER


class TransformerBlock(nn.Module):
    """Attention to every visible position, and a network of two layers."""

    def __init__(self, width: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.heads = heads
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
        batch, time, width = x.shape
        split = self.qkv(self.norm(x)).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = (part.contiguous() for part in split.unbind(0))
        bias = None
        if valid is not None:
            bias = torch.zeros(valid.shape, dtype=query.dtype, device=x.device)
            bias = bias.masked_fill_(~valid, NEVER)[:, None, None, :].expand(-1, -1, time, -1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        result: Tensor = x + self.mlp(x)
        return result


def sinusoids(time: int, width: int, device: torch.device) -> Tensor:
    """Positions as sines and cosines of falling frequencies: (time, width)."""
    place = torch.arange(time, device=device, dtype=torch.float32).unsqueeze(1)
    steps = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    angle = place * torch.exp(steps * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]
