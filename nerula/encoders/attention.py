"""Sliding-window attention in plain PyTorch: forward and backward, CPU and GPU, linear in time.

Time is cut into blocks. A block's queries meet the keys of the block and of a halo before and
after it, all blocks of all heads in one batched product; a bias made of a small band and of the
validity of the keys leaves each query its own window.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NEVER = -4096.0
"""Added to the score of a key that must not be seen: its weight is then exactly zero. Finite, so
that a window without any valid key gives numbers, which the caller's mask takes out, not NaN; and
no larger, since a softmax on the CPU takes five times as long below about -16,000."""


def block_length(reach: int) -> int:
    """Queries per block for windows of `+-reach`; time must be a multiple of it."""
    return 32 * max(1, math.ceil(reach / 32))


def window_bias(label: Tensor, reach: int, dtype: torch.dtype) -> Tensor:
    """What to add to the scores for windows of `+-reach`: a query sees keys of its own label.

    `label` (B, T) is 0 for what is hidden: nothing else ever sees it. The shape is
    (B * blocks, block, block + 2 * halo), the halo being the reach rounded up to what vector
    units like. Every layer at this length can share it.
    """
    block, halo = block_length(reach), 16 * math.ceil(reach / 16)
    span = block + 2 * halo
    query = torch.arange(block, device=label.device).unsqueeze(1) + halo
    near = (torch.arange(span, device=label.device) - query).abs() <= reach
    keys = F.pad(label, (halo, halo)).unfold(1, span, block).flatten(0, 1)
    seen = (keys.unsqueeze(1) == label.reshape(-1, block, 1)) & near
    bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return bias.masked_fill_(~seen, NEVER)


def window_attention(qkv: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Attend within windows: (B, T, 3 * width) queries, keys and values to (B, T, width)."""
    mixed: Tensor = _WindowAttention.apply(qkv, bias, heads)  # type: ignore[no-untyped-call]
    return mixed


def rotate(qkv: Tensor, heads: int, period: int) -> Tensor:
    """Turn queries and keys by their position, so that scores depend on distance (Su et al. 2021).

    All angles come back after `period` positions: there is no origin, and no last position.
    """
    time, width = qkv.shape[1:]
    half = width // (6 * heads)
    turns = torch.arange(1, half + 1, device=qkv.device) / period
    place = torch.arange(time, device=qkv.device) % period
    angle = 2 * math.pi * place.unsqueeze(1) * turns
    turned: Tensor = _Rotation.apply(  # type: ignore[no-untyped-call]
        qkv, angle.cos().unsqueeze(1).to(qkv.dtype), angle.sin().unsqueeze(1).to(qkv.dtype)
    )
    return turned


class _Rotation(torch.autograd.Function):
    """The first two thirds turned in pairs (a value, and the one half a head further).

    The gradient is turned back: written out, it costs a third of what autograd makes of it.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turned(qkv, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _turned(grads[0], cosine, -sine), None, None


def _turned(qkv: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    rest = 2 * qkv.shape[-1] // 3
    turned = qkv.clone()
    one, two = _halves(qkv[..., :rest], cosine.shape[-1])
    first, second = _halves(turned[..., :rest], cosine.shape[-1])
    first.mul_(cosine).addcmul_(two, sine, value=-1)
    second.mul_(cosine).addcmul_(one, sine)
    return turned


def _halves(x: Tensor, half: int) -> tuple[Tensor, Tensor]:
    pairs = x.view(*x.shape[:-1], -1, 2, half)
    return pairs[..., 0, :], pairs[..., 1, :]


def full_attention(qkv: Tensor, label: Tensor, heads: int) -> Tensor:
    """Attend to every position of the same label: (B, T, 3 * width) to (B, T, width)."""
    batch, time, width = qkv.shape
    query, key, value = qkv.view(batch, time, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    seen = label[:, None, :, None] == label[:, None, None, :]
    bias = torch.zeros(seen.shape, dtype=qkv.dtype, device=qkv.device).masked_fill_(~seen, NEVER)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return mixed.transpose(1, 2).reshape(batch, time, width // 3)


class _WindowAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(d) + bias) v, block by block.

    The rows of all recordings lie one after the other, head by head, in one buffer with a halo at
    its ends. So the keys of all blocks are one overlapping view of it, without a gather. At its
    ends a recording's window runs into the next recording's or head's rows: the bias of keys
    beyond a recording makes their weights exactly zero.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, heads: int) -> Tensor:
        batch, time, width = qkv.shape
        block, span = bias.shape[1:]
        size = width // (3 * heads)
        halo = (span - block) // 2 * size
        buffer = qkv.new_empty(qkv.numel() + 2 * halo)
        buffer[:halo], buffer[-halo:] = 0, 0
        rows = buffer[halo:-halo].view(3, heads, batch * time, size)
        rows.copy_(qkv.view(batch * time, 3, heads, size).permute(1, 2, 0, 3))
        with torch.autocast(qkv.device.type, enabled=False):
            query, key, value = _blocks(buffer, block, span, size)
            scores = torch.bmm(query, key.transpose(1, 2)).view(heads, *bias.shape)
            torch.add(bias, scores, alpha=size**-0.5, out=scores)
            weights = torch.softmax(scores, -1).flatten(0, 1)
            mixed = torch.bmm(weights, value)
        ctx.save_for_backward(buffer, weights)
        ctx.shape = (batch, time, 3, heads, size)
        return mixed.view(heads, batch * time, size).transpose(0, 1).reshape(batch, time, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        buffer, weights = ctx.saved_tensors
        batch, time, _, heads, size = ctx.shape
        block, span = weights.shape[1:]
        query, key, value = _blocks(buffer, block, span, size)
        out = grads[0].reshape(batch * time, heads, size).transpose(0, 1).reshape(query.shape)
        given = torch.bmm(out, value.transpose(1, 2))
        scores = torch._softmax_backward_data(given, weights, -1, weights.dtype)
        result = out.new_empty(batch * time // block, block, 3, heads, size)
        parts = (
            (torch.bmm(scores, key), size**-0.5),
            (_folded(torch.bmm(scores.transpose(1, 2), query), block), size**-0.5),
            (_folded(torch.bmm(weights.transpose(1, 2), out), block), 1.0),
        )
        for place, (part, factor) in enumerate(parts):
            by_time = part.reshape(heads, -1, block, size).permute(1, 2, 0, 3)
            torch.mul(by_time, factor, out=result[:, :, place])
        return result.view(batch, time, -1), None, None


def _blocks(buffer: Tensor, block: int, span: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views of the buffer: queries (N, block, size), keys and values (N, span, size)."""
    halo = (span - block) // 2 * size
    third = (buffer.numel() - 2 * halo) // 3
    count = third // (block * size)
    query = buffer[halo : halo + third].view(count, block, size)
    steps = (block * size, size, 1)
    key = buffer.as_strided((count, span, size), steps, third)
    return query, key, buffer.as_strided((count, span, size), steps, 2 * third)


def _folded(windows: Tensor, block: int) -> Tensor:
    """Add up what overlapping windows (N, span, size) say about each row: (N, block, size)."""
    halo = (windows.shape[1] - block) // 2
    rows = windows[:, halo:-halo]
    rows[1:, :halo] += windows[:-1, -halo:]
    rows[:-1, -halo:] += windows[1:, :halo]
    return rows
