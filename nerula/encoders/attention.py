"""Sliding-window attention in plain PyTorch: forward and backward, CPU and GPU, linear in time.

Time is cut into blocks. A block's queries meet the keys of the block and of as many positions
before and after it as the window reaches, all blocks in one batched product; a small band, laid
over the validity of the keys, leaves each query its own window.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 32
"""Queries per block."""

_NEVER = -1e4
"""Added to the score of a key that must not be seen: its weight is then exactly zero. Finite, so
that a window without any valid key gives numbers, which the caller's mask takes out, not NaN."""


def window_bias(valid: Tensor, reach: int, dtype: torch.dtype) -> Tensor:
    """What to add to the scores for windows of `+-reach`, from the validity of keys (B, T).

    T is a multiple of BLOCK. Shape (B * blocks, 1, BLOCK, BLOCK + 2 * reach); every layer at this
    length can share it.
    """
    query = torch.arange(BLOCK, device=valid.device).unsqueeze(1)
    key = torch.arange(BLOCK + 2 * reach, device=valid.device)
    band = (key - reach - query).abs() <= reach
    keys = F.pad(valid, (reach, reach)).unfold(1, BLOCK + 2 * reach, BLOCK)
    seen = (keys.flatten(0, 1).unsqueeze(1) & band).unsqueeze(1)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, _NEVER)


def window_attention(qkv: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Attend within windows: (B, T, 3 * width) queries, keys and values to (B, T, width)."""
    batch, time, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    blocks, span = time // BLOCK, bias.shape[-1]
    reach = (span - BLOCK) // 2
    query, pairs = qkv.split([width, 2 * width], dim=-1)
    query = query.reshape(batch * blocks, BLOCK, heads, -1).transpose(1, 2)
    pairs = F.pad(pairs, (0, 0, reach, reach)).unfold(1, span, BLOCK)  # (B, blocks, 2 W, span)
    pairs = pairs.reshape(batch * blocks, 2, heads, -1, span).transpose(3, 4)
    key, value = pairs.unbind(1)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return mixed.transpose(1, 2).reshape(batch, time, width)


def full_attention(qkv: Tensor, valid: Tensor, heads: int) -> Tensor:
    """Attend to every valid position: (B, T, 3 * width) to (B, T, width)."""
    parts = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    query, key, value = parts.unbind(0)
    hidden = torch.zeros(valid.shape, dtype=qkv.dtype, device=qkv.device)
    bias = hidden.masked_fill_(~valid, _NEVER)[:, None, None, :]
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return mixed.transpose(1, 2).flatten(2)
