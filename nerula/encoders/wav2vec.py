"""wav2vec 2.0 for many leads: a convolutional front, and a transformer over what it gives.

Baevski et al. 2020, https://arxiv.org/abs/2006.11477; for ECG Oh et al. 2022,
https://arxiv.org/abs/2203.06889.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nerula.encoders import Tokens
from nerula.encoders.transformer import TransformerBlock
from nerula.precision import in_full

NORMS = ("layer", "group")


class Front(nn.Module):
    """Convolutions of kernel 2 and stride 2: all leads together to one token per `stride`.

    A window is as long as its stride, so each layer is a product with pairs of neighbours, and a
    token knows nothing beyond its own samples. `group` normalises each value of the first layer
    over time, as published; `layer` each position by itself, after every layer.
    """

    def __init__(self, leads: int, channels: Sequence[int], norm: str) -> None:
        super().__init__()
        self.stride, self.width, self.group = 2 ** len(channels), channels[-1], norm == "group"
        sizes = [leads, *channels]
        layers = [
            nn.Linear(2 * before, after, bias=False)
            for before, after in zip(sizes, channels, strict=False)
        ]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
        normed = channels[:1] if self.group else channels
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in normed)

    def forward(self, x: Tensor, visible: Tensor) -> Tokens:
        """Signal (B, L, T) to ceil(T / stride) tokens, valid where any of their samples is."""
        short = -x.shape[-1] % self.stride
        h = F.pad(torch.where(visible, x, 0.0), (0, short)).transpose(1, 2)
        there = F.pad(visible.any(1), (0, short)).view(len(x), -1, self.stride).any(-1)
        for number, layer in enumerate(self.layers):
            h = layer(h.reshape(len(h), h.shape[1] // 2, -1))
            if number < len(self.norms):
                norm = self.norms[number]
                h = _over_time(norm, h) if self.group else norm(h)
            h = F.gelu(h)
        return Tokens(h * there.unsqueeze(-1), there)


def _over_time(norm: nn.Module, h: Tensor) -> Tensor:
    """GroupNorm with a group for each value of (B, T, width)."""
    weight, bias = norm.parameters()
    return F.group_norm(in_full(h.transpose(1, 2)), h.shape[2], weight, bias).transpose(1, 2)


class Positions(nn.Module):
    """Where a token is, told by its neighbours: a grouped convolution over time.

    The kernel's size and its direction are learned apart, one size for each place (weight
    normalisation).
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.kernel, self.groups = kernel, groups
        self.direction = nn.Parameter(torch.empty(width, width // groups, kernel))
        nn.init.normal_(self.direction, std=math.sqrt(4 / (kernel * width)))
        self.size = nn.Parameter(self._norm().detach())
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        """What to add to (B, T, width)."""
        out = F.conv1d(
            h.transpose(1, 2),
            self.weight(),
            self.bias,
            padding=self.kernel // 2,
            groups=self.groups,
        )
        return F.gelu(out[..., : h.shape[1]]).transpose(1, 2)

    def weight(self) -> Tensor:
        """The kernel (width, width / groups, kernel)."""
        return self.direction * (self.size / self._norm())

    def _norm(self) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(self.direction, dim=(0, 1), keepdim=True)
        return norm


class Wav2Vec(nn.Module):
    """The front, its tokens brought to the transformer's width, and the transformer."""

    def __init__(
        self,
        leads: int,
        *,
        channels: Sequence[int],
        norm: str,
        width: int,
        depth: int,
        heads: int,
        kernel: int,
        groups: int,
        post: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.post, self.dropout, self.width = post, dropout, width
        self.front = Front(leads, channels, norm)
        self.stride = self.front.stride
        self.norm = nn.LayerNorm(self.front.width)
        self.enter = nn.Linear(self.front.width, width)
        self.positions = Positions(width, kernel, groups)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, post=post, dropout=dropout) for _ in range(depth)
        )
        self.context_norm = nn.LayerNorm(width)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, visible: Tensor) -> Tokens:
        """Encode in one piece, nothing masked."""
        values, there = self.front(x, visible)
        return self.contextual(self.entered(self.norm(values)), there)

    def entered(self, features: Tensor) -> Tensor:
        """Normalised features of the front in the transformer's width."""
        h: Tensor = self._dropped(self.enter(features))
        return h

    def layers(self, x: Tensor, visible: Tensor) -> list[Tokens]:
        """What the front gives in the transformer's width, and each block."""
        values, there = self.front(x, visible)
        passed = self._passed(self.entered(self.norm(values)), there)
        return [Tokens(h, there) for h in passed]

    def contextual(self, h: Tensor, there: Tensor) -> Tokens:
        """Tokens (B, T', width), some of them perhaps masked, in the light of all others."""
        return Tokens(deque(self._passed(h, there), maxlen=1).pop(), there)

    def _passed(self, h: Tensor, there: Tensor) -> Iterator[Tensor]:
        """What each layer gives, one after the other; zero where nothing is."""
        seen = there.unsqueeze(-1)
        h = h * seen
        yield h
        h = h + self.positions(h)
        h = self._dropped(self.context_norm(h) if self.post else h)
        for number, block in enumerate(self.blocks, start=1):
            h = block(h, there)
            if number == len(self.blocks) and not self.post:
                h = self.context_norm(h)
            yield h * seen

    def _dropped(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h
