"""Masked autoencoders, one for each lead, computed as one (He et al. 2021, in one dimension).

https://arxiv.org/abs/2111.06377. Every lead has weights of its own. They lie in one tensor whose
first dimension is the lead, so that twelve small networks are one batched product, layer by layer;
`chosen` computes only some of the leads, with views of their weights.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nerula.encoders.attention import NEVER
from nerula.encoders.transformer import attend, sinusoids
from nerula.precision import in_full

Leads = slice | Tensor
"""Which leads: a slice, or their numbers."""
EVERY = slice(None)
QUIET = 0.1
"""A block adds little at first: what is learned first is each patch by itself, and it is learned
in a tenth of the steps."""
LEAST_VARIANCE = 1e-5
MOMENTUM = 0.05
"""Share of a batch in the mean and variance that are kept."""


class Linears(nn.Module):
    """A linear layer for each lead: (leads, ..., inputs) to (leads, ..., outputs).

    `gain` says how strong it is at first.
    """

    def __init__(self, leads: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        limit = gain * (6 / (inputs + outputs)) ** 0.5
        self.weight = nn.Parameter(torch.empty(leads, inputs, outputs).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(leads, 1, outputs))

    def forward(self, x: Tensor, chosen: Leads = EVERY) -> Tensor:
        """Apply each lead's own."""
        flat = x.reshape(len(x), -1, x.shape[-1])
        out = torch.baddbmm(self.bias[chosen], flat, self.weight[chosen])
        return out.view(*x.shape[:-1], -1)


class Norms(nn.Module):
    """A layer normalisation for each lead, of (leads, B, T, width)."""

    def __init__(self, leads: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(leads, 1, 1, width))
        self.bias = nn.Parameter(torch.zeros(leads, 1, 1, width))

    def forward(self, x: Tensor, chosen: Leads = EVERY) -> Tensor:
        """Apply each lead's own."""
        return F.layer_norm(x, x.shape[-1:]) * self.weight[chosen] + self.bias[chosen]


class Standards(nn.Module):
    """Each lead's vectors (leads, B, width) with mean 0 and deviation 1 in every dimension.

    While its own loss is learned mean and variance are those `of_batch`, as in a batch
    normalisation; otherwise, also where labels are learned, those that this has come to.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, leads: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(leads, 1, width))
        self.register_buffer("variance", torch.ones(leads, 1, width))

    def forward(self, x: Tensor, chosen: Leads = EVERY) -> Tensor:
        """Standardise each lead by what is kept for it."""
        return _standard(in_full(x), self.mean[chosen], self.variance[chosen])

    def of_batch(self, x: Tensor, there: Tensor) -> Tensor:
        """Standardise each lead by the batch; rows not `there` (leads, B) do not count."""
        x = in_full(x)
        return _standard(x, *_moments(x, there))

    @torch.no_grad()
    def remember(self, x: Tensor, there: Tensor) -> None:
        """Move what is kept towards the mean and variance of all leads of a batch."""
        some = there.any(1)[:, None, None]
        for kept, now in zip((self.mean, self.variance), _moments(in_full(x), there), strict=True):
            kept.lerp_(torch.where(some, now, kept), MOMENTUM)


class Blocks(nn.Module):
    """A transformer block for each lead, normalised before attention and network."""

    def __init__(self, leads: int, width: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = Norms(leads, width), Norms(leads, width)
        self.qkv = Linears(leads, width, 3 * width)
        self.out = Linears(leads, width, width, QUIET)
        self.up = Linears(leads, width, expansion * width)
        self.down = Linears(leads, expansion * width, width, QUIET)

    def forward(self, x: Tensor, bias: Tensor | None, chosen: Leads = EVERY) -> Tensor:
        """Apply to (leads, B, T, width); `bias` (leads * B, 1, 1, T) hides keys."""
        leads, batch, time, width = x.shape
        qkv = self.qkv(self.norm(x, chosen), chosen)
        qkv = qkv.view(leads * batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = (part.contiguous() for part in qkv.unbind(0))
        mixed = attend(query, key, value, None if bias is None else bias.to(query.dtype))
        x = x + self.out(mixed.transpose(1, 2).reshape(leads, batch, time, width), chosen)
        inner = F.gelu(self.up(self.mlp_norm(x, chosen), chosen))
        result: Tensor = x + self.down(inner, chosen)
        return result


class Encoders(nn.Module):
    """Patches of each lead to tokens, after one token for the whole (CLS)."""

    def __init__(self, leads: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patches = Linears(leads, patch, width, (0.5 + 0.5 * width / patch) ** 0.5)
        self.whole = nn.Parameter(0.02 * torch.randn(leads, 1, 1, width))
        self.blocks = nn.ModuleList(Blocks(leads, width, heads) for _ in range(depth))
        self.norm = Norms(leads, width)

    def forward(self, patches: Tensor, there: Tensor, place: Tensor, chosen: Leads) -> Tensor:
        """Encode patches (leads, B, K, patch) to tokens (leads, B, 1 + K, width).

        They lie at `place` (B, K). What is not `there` (leads, B, K) nobody looks at.
        """
        h = self.patches(patches, chosen)
        position = sinusoids(int(place.max()) + 2, h.shape[-1], h.device)
        h = h + position[place + 1].to(h.dtype)
        whole = self.whole[chosen].expand(-1, h.shape[1], -1, -1).to(h.dtype)
        h = torch.cat([whole, h], dim=2)
        bias = _hidden(F.pad(there, (1, 0), value=True))
        for block in self.blocks:
            h = block(h, bias, chosen)
        result: Tensor = self.norm(h, chosen)
        return result


class Decoders(nn.Module):
    """Tokens of each lead, or the token for what is hidden, to patches."""

    def __init__(
        self, leads: int, inputs: int, outputs: int, *, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.enter = Linears(leads, inputs, width)
        self.hidden = nn.Parameter(0.02 * torch.randn(leads, 1, 1, width))
        self.blocks = nn.ModuleList(Blocks(leads, width, heads) for _ in range(depth))
        self.norm = Norms(leads, width)
        self.out = Linears(leads, width, outputs)

    def forward(self, tokens: Tensor, there: Tensor, restore: Tensor, chosen: Leads) -> Tensor:
        """Decode (leads, B, 1 + K, inputs) to all places: (leads, B, T, outputs).

        `restore` (B, T) says for every place which of the K tokens is its own; beyond K, and where
        a token is not `there` (leads, B, K), it is the hidden one.
        """
        h = self.enter(tokens, chosen)
        whole, h = h[:, :, :1], h[:, :, 1:]
        hidden = self.hidden[chosen].to(h.dtype)
        h = torch.where(there.unsqueeze(-1), h, hidden)
        rest = restore.shape[1] - h.shape[2]
        h = torch.cat([h, hidden.expand(-1, h.shape[1], rest, -1)], dim=2)
        index = restore[None, :, :, None].expand(len(h), -1, -1, h.shape[-1])
        h = torch.cat([whole, h.gather(2, index)], dim=2)
        h = h + sinusoids(h.shape[2], h.shape[3], h.device).to(h.dtype)
        for block in self.blocks:
            h = block(h, None, chosen)
        result: Tensor = self.out(self.norm(h[:, :, 1:], chosen), chosen)
        return result


def _standard(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (x - mean) * (variance + LEAST_VARIANCE).rsqrt()


def _moments(x: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (leads, 1, width) of the rows of (leads, B, width) that are `there`."""
    weight = there.unsqueeze(-1) / there.sum(1).clamp(min=1)[:, None, None]
    mean = (x * weight).sum(1, keepdim=True)
    return mean, ((x - mean).square() * weight).sum(1, keepdim=True)


def _hidden(there: Tensor) -> Tensor | None:
    """What to add to scores so that nobody looks at what is not there: (leads * B, 1, 1, T)."""
    if bool(there.all()):
        return None
    bias = torch.zeros(there.shape, device=there.device).masked_fill_(~there, NEVER)
    return bias.flatten(0, 1)[:, None, None, :]
