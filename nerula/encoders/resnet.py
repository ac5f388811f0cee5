"""One-dimensional residual networks: He et al. 2015, [3, 4, 6, 3] bottlenecks."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nerula.encoders import Encoder, Tokens
from nerula.encoders.local import Convolution
from nerula.together import BatchNorm


class PositionNorm(nn.LayerNorm):
    """Normalise over the channels of each position.

    No recording, rank or hidden stretch influences another, and without a bias zero stays zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, bias=False)


class PlaceBatchNorm(BatchNorm):
    """Batch normalisation of (B, T, C), as in the original."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel over batch and time."""
        return super().forward(x.flatten(0, 1)).view_as(x)


NORMS: dict[str, type[nn.Module]] = {"position": PositionNorm, "batch": PlaceBatchNorm}


class Bottleneck(nn.Module):
    """1 - 3 - 1 convolutions beside a skip, four times as wide outside as inside."""

    def __init__(self, inputs: int, inner: int, stride: int, norm: type[nn.Module]) -> None:
        super().__init__()
        outer = 4 * inner
        self.stride = stride
        self.reduce = nn.Sequential(nn.Linear(inputs, inner, bias=False), norm(inner), nn.ReLU())
        self.local = Convolution(inner, inner, 3, stride)
        self.widen = nn.Sequential(
            norm(inner), nn.ReLU(), nn.Linear(inner, outer, bias=False), norm(outer)
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outer:
            self.skip = nn.Sequential(nn.Linear(inputs, outer, bias=False), norm(outer))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Apply to (B, T, C); `mask` (B, T', 1) holds for the result's positions."""
        inner = self.local(self.reduce(x)) * mask
        skip = self.skip(x[:, :: self.stride])
        return F.relu(self.widen(inner) + skip) * mask


class ResNet(Encoder):
    """Signal and validity to tokens of `4 * widths[-1]` values, one for 32 samples.

    Widths (64, 128, 256, 512) give 15.95 million parameters, (64, 64, 64, 64) the light 0.94
    million. `norm="batch"` is the original; `norm="position"` lets nothing hidden through.
    """

    def __init__(
        self,
        *,
        leads: int = 1,
        widths: Sequence[int] = (64, 64, 64, 64),
        depths: Sequence[int] = (3, 4, 6, 3),
        norm: str = "position",
    ) -> None:
        super().__init__()
        kind = NORMS[norm]
        self.stem = Convolution(2 * leads, widths[0], 7, 2)
        self.norm = kind(widths[0])
        self.context, self.stride = 3 + 2, 4
        blocks, profile = [], []
        inputs = widths[0]
        for stage, (inner, depth) in enumerate(zip(widths, depths, strict=True)):
            for place in range(depth):
                stride = 2 if stage > 0 and place == 0 else 1
                blocks.append(Bottleneck(inputs, inner, stride, kind))
                inputs = 4 * inner
                self.context += self.stride
                self.stride *= stride
            profile.append((inputs, self.stride))
        self.profile = tuple(profile)
        self.ends = tuple(accumulate(depths))
        self.blocks = nn.ModuleList(blocks)
        self.width = inputs
        self.grid = self.stride

    def forward(self, x: Tensor, valid: Tensor) -> Tokens:
        """Encode in one piece."""
        return deque(self._passed(x, valid), maxlen=1).pop()

    def layers(self, x: Tensor, valid: Tensor) -> list[Tokens]:
        """Encode in one piece: the stages."""
        return [*self._passed(x, valid)]

    def _passed(self, x: Tensor, valid: Tensor) -> Iterator[Tokens]:
        """What each stage gives, one after the other."""
        seen = torch.where(valid, x, 0.0)
        h = torch.cat([seen, valid.to(seen.dtype)], dim=1).transpose(1, 2).contiguous()
        token = valid.any(1)[:, ::2]
        h = F.relu(self.norm(self.stem(h))) * token.unsqueeze(-1)
        h = F.max_pool1d(h.transpose(1, 2), 3, 2, 1).transpose(1, 2)
        token = token[:, ::2]
        h = h * token.unsqueeze(-1)
        for number, block in enumerate(self.blocks, start=1):
            token = token[:, :: block.stride]
            h = block(h, token.unsqueeze(-1))
            if number in self.ends:
                yield Tokens(h, token)
