"""NERULA's encoder: masked convolutions and sliding-window attention (sections 4.2 and 4.2.1).

After Manimaran et al., "Reading between the leads", Computing in Cardiology 2023, with the masks
that NERULA adds. **A masked sample influences nothing**: it is taken out of the signal before the
first convolution, the mask of a level is the sample mask at the centres of that level's tokens
(nearest interpolation), and it is multiplied in again after every layer that mixes positions.
So the tokens of two complementary views are complementary at every level, and a token whose
kernel covers both kinds of samples belongs to the view that owns its centre and sees only that
view's samples. All other layers are pointwise and without bias: they keep zero at zero.

**Two views cost one.** Half of each view's tokens are zero, and where one is zero the other is
not. So behind the first convolutions both views are laid into one sequence, every token with the
label of its view: pointwise layers then work on both at once, attention is between equal labels,
and only the short convolutions are computed for each view by itself. The result is that of two
passes, at the price of little more than one.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nerula.encoders import Encoder, Tokens
from nerula.encoders.attention import (
    block_length,
    full_attention,
    rotate,
    window_attention,
    window_bias,
)


class Convolution(nn.Module):
    """A convolution over time on (B, T, C), zeros beyond the ends: `ceil(T / stride)` positions.

    Computed as a two-dimensional one of height 1, whose channels-last layout *is* (B, T, C): no
    transposition, and on CPUs two to ten times as fast as `Conv1d`.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.stride, self.groups, self.reach = stride, groups, kernel // 2
        like = nn.Conv1d(inputs, outputs, kernel, groups=groups, bias=False)
        self.weight = nn.Parameter(like.weight.detach().unsqueeze(2))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        image = x.unsqueeze(1).permute(0, 3, 1, 2)
        y = F.conv2d(image, self.weight, None, (1, self.stride), (0, self.reach), 1, self.groups)
        return y.permute(0, 2, 3, 1).squeeze(1)


class Level:
    """The masks of one length, shared by all layers that work at it.

    `label` (B, T) says which view a position belongs to; 0 is hidden from all.
    """

    def __init__(self, label: Tensor, views: int = 1) -> None:
        self.label, self.views = label, views
        self._masks: dict[tuple[int, torch.dtype], Tensor] = {}
        self._biases: dict[tuple[int, torch.dtype], Tensor] = {}

    def mask(self, dtype: torch.dtype, view: int = 0) -> Tensor:
        """Ones and zeros (B, T, 1): the positions of a view, or of any (0)."""
        if (view, dtype) not in self._masks:
            chosen = self.label == view if view else self.label != 0
            self._masks[view, dtype] = chosen.unsqueeze(-1).to(dtype)
        return self._masks[view, dtype]

    def bias(self, reach: int, dtype: torch.dtype) -> Tensor:
        """The bias of windowed attention."""
        if (reach, dtype) not in self._biases:
            self._biases[reach, dtype] = window_bias(self.label, reach, dtype)
        return self._biases[reach, dtype]

    def strided(self, stride: int) -> "Level":
        """The level of a layer with this stride; nearest interpolation."""
        return self if stride == 1 else Level(self.label[:, ::stride], self.views)

    def apart(self, h: Tensor) -> Tensor:
        """The views one after the other, each with zeros for the other: (views * B, T, C)."""
        if self.views == 1:
            return h
        return torch.cat([h * self.mask(h.dtype, view + 1) for view in range(self.views)])

    def together(self, h: Tensor) -> Tensor:
        """The reverse, after a layer that mixed positions: (B, T, C), zero where hidden."""
        first, *others = h.chunk(self.views)
        kept = first * self.mask(h.dtype, 1)
        for view, other in enumerate(others, start=2):
            kept = torch.addcmul(kept, other, self.mask(h.dtype, view))
        return kept


class Stem(nn.Module):
    """Masked convolution, normalisation over the channels of each position, GELU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, *, separable: bool = False
    ) -> None:
        super().__init__()
        self.stride = stride
        if separable:
            self.mix: nn.Module = nn.Sequential(
                Convolution(inputs, inputs, kernel, stride, groups=inputs),
                nn.Linear(inputs, outputs, bias=False),
            )
        else:
            self.mix = Convolution(inputs, outputs, kernel, stride)
        self.norm = nn.LayerNorm(outputs, bias=False)

    def forward(self, h: Tensor, level: Level) -> Tensor:
        """Apply to (B, T, C); `level` is that of the result."""
        return F.gelu(self.norm(level.together(self.mix(h))))


class Block(nn.Module):
    """Pre-norm transformer block: a k3 convolution before q, k and v, and windowed attention.

    With stride 2 the convolution halves the length, and so does max-pooling on the skip.
    `reach` 0 attends to everything; `rotary` tells distances apart.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        reach: int,
        stride: int = 1,
        *,
        expansion: int = 4,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.reach, self.stride, self.rotary = heads, reach, stride, rotary
        self.norm = nn.LayerNorm(width, bias=False)
        self.local = Convolution(width, width, 3, stride, groups=width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width, bias=False),
            nn.Linear(width, expansion * width, bias=False),
            nn.GELU(),
            nn.Linear(expansion * width, width, bias=False),
        )

    def forward(self, x: Tensor, before: Level, level: Level) -> Tensor:
        """Apply to (B, T, width), from the level of `x` to the level of the result."""
        qkv = self.qkv(level.together(self.local(before.apart(self.norm(x)))))
        if self.rotary:
            qkv = rotate(qkv, self.heads, 2 * block_length(self.reach))
        if self.reach:
            mixed = window_attention(qkv, level.bias(self.reach, qkv.dtype), self.heads)
        else:
            mixed = full_attention(qkv, level.label, self.heads)
        if self.stride > 1:
            pooled = F.max_pool1d(before.apart(x).transpose(1, 2), 3, self.stride, 1)
            x = level.together(pooled.transpose(1, 2))
        mixed = self.out(mixed)
        x = torch.addcmul(x, mixed, level.mask(mixed.dtype))
        return torch.add(x, self.mlp(x))


class LocalEncoder(Encoder):
    """Masked local attention: (B, L, T) to tokens of `width` values, one for `stride` samples.

    `stem` lists (channels, stride) of the convolutions, `blocks` (reach, stride) of the
    transformer blocks; `widening` convolutions k5 between them bring the one to the other's
    width; with `rotary`, attention tells distances apart. Every lead comes with its validity as a
    second input, so that a hidden sample is not mistaken for a sample of 0 mV.
    """

    def __init__(
        self,
        *,
        leads: int = 1,
        stem: Sequence[tuple[int, int]] = ((32, 2), (64, 2), (128, 2)),
        kernel: int = 9,
        separable: bool = False,
        widening: int = 0,
        blocks: Sequence[tuple[int, int]] = ((9, 1),) * 4,
        width: int = 128,
        heads: int = 4,
        expansion: int = 4,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        layers = [(outputs, kernel, stride) for outputs, stride in stem]
        layers += [(width, 5, 1)] * widening
        channels = [2 * leads, *(outputs for outputs, _, _ in layers)]
        self.stem = nn.ModuleList(
            Stem(channels[i], *layer, separable=separable and 0 < i < len(stem))
            for i, layer in enumerate(layers)
        )
        self.widen: nn.Module = nn.Identity()
        if channels[-1] != width:
            self.widen = nn.Linear(channels[-1], width, bias=False)
        self.blocks = nn.ModuleList(
            Block(width, heads, reach, stride, expansion=expansion, rotary=rotary)
            for reach, stride in blocks
        )
        self.norm = nn.LayerNorm(width, bias=False)
        self.width = width
        self.stride, self.context, self.grid = 1, 0, 1
        profile = []
        for outputs, size, stride in layers:
            self._see(size // 2, stride)
            profile.append((outputs, self.stride))
        profile[-1:] = [(width, self.stride)]
        for reach, stride in blocks:
            self._see(1, stride)
            self._see(reach or None, 1)
            profile.append((width, self.stride))
        self.profile = tuple(profile)
        longest = max((block_length(reach) for reach, _ in blocks), default=1)
        self.grid = self.stride * longest * (2 if rotary else 1)  # rotary angles: two blocks

    def _see(self, reach: int | None, stride: int) -> None:
        """Account for a layer in what the encoder's tokens can see."""
        if reach is None or self.context is None:
            self.context = None
        else:
            self.context += reach * self.stride
        self.stride *= stride

    def forward(self, x: Tensor, valid: Tensor) -> Tokens:
        """Encode in one piece."""
        return self._encode(x, valid, views=1)

    def layers(self, x: Tensor, valid: Tensor) -> list[Tokens]:
        """Encode in one piece: convolutions, then blocks, the last of which is normalised."""
        passed = [*self._passed(x, valid, views=1)]
        last, level = passed.pop()
        found = []
        for (h, held), (_, stride) in zip(
            [*passed, (self.norm(last), level)], self.profile, strict=True
        ):
            count = -(-x.shape[-1] // stride)
            found.append(Tokens(h[:, :count], held.label[:, :count] != 0))
        return found

    def pair(self, x: Tensor, valid: Tensor) -> Tokens:
        """Encode two views (2 B, L, T) that share no valid position, in little more than one pass.

        The same tokens as those of `forward`.
        """
        return self._encode(x, valid, views=2)

    def _encode(self, x: Tensor, valid: Tensor, views: int) -> Tokens:
        h, level = deque(self._passed(x, valid, views), maxlen=1).pop()
        end = -(-x.shape[-1] // self.stride)
        h, label = self.norm(h)[:, :end], level.label[:, :end]
        if views == 1:
            return Tokens(h, label != 0)
        valid = torch.cat([label == 1, label == 2])
        return Tokens(torch.where(valid.unsqueeze(-1), h.repeat(2, 1, 1), 0), valid)

    def _passed(self, x: Tensor, valid: Tensor, views: int) -> Iterator[tuple[Tensor, Level]]:
        """What each layer gives, one after the other, filled up to whole blocks."""
        padding = (0, -x.shape[-1] % self.grid)
        x, valid = F.pad(x, padding), F.pad(valid, padding)
        seen = torch.where(valid, x, 0.0)  # not a product: what is hidden may be NaN
        h = torch.cat([seen, valid.to(seen.dtype)], dim=1).transpose(1, 2).contiguous()
        level = Level(valid.any(1).byte())
        for number, stem in enumerate(cast("Iterable[Stem]", self.stem), start=1):
            level = level.strided(stem.stride)
            h = stem(h, level)
            if number < len(self.stem):
                yield h, level
        if views == 2:
            first, second = level.label.chunk(2)
            level = Level(first + 2 * second, views)
            h = torch.add(*h.chunk(2))
        h = self.widen(h)
        yield h, level
        for block in cast("Iterable[Block]", self.blocks):
            before, level = level, level.strided(block.stride)
            h = block(h, before, level)
            yield h, level


class LocalDecoder(nn.Module):
    """Tokens back to a signal: a learned token where nothing was seen, blocks, a convolution.

    Learned tokens are all alike, so these blocks are told distances. The convolution over three
    tokens gives `stride` samples for each.

    `context` and `grid` are those of `Encoder`, in samples.
    """

    def __init__(
        self,
        inputs: int,
        stride: int,
        *,
        leads: int = 1,
        width: int = 128,
        depth: int = 1,
        reach: int = 16,
        heads: int = 4,
        expansion: int = 4,
    ) -> None:
        super().__init__()
        self.leads, self.block = leads, block_length(reach)
        self.context = (depth * (1 + reach) + 1) * stride
        self.grid = 2 * self.block * stride
        self.enter = nn.Identity() if inputs == width else nn.Linear(inputs, width, bias=False)
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(
            Block(width, heads, reach, expansion=expansion, rotary=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.taps = Convolution(width, leads * stride, 3)

    def forward(self, tokens: Tokens, time: int) -> Tensor:
        """Decode to (B, L, time)."""
        h = self.enter(tokens.values)
        h = torch.where(tokens.valid.unsqueeze(-1), h, self.hidden.to(h.dtype))
        length = h.shape[1]
        h = F.pad(h, (0, 0, 0, -length % self.block))
        there = torch.arange(h.shape[1], device=h.device) < length
        level = Level(there.byte().expand(h.shape[0], -1))
        for block in self.blocks:
            h = block(h, level, level)
        h = self.norm(h)
        taps = self.taps(h * level.mask(h.dtype))[:, :length]
        signal: Tensor = taps.reshape(len(taps), -1, self.leads)
        return signal.transpose(1, 2)[..., :time]
