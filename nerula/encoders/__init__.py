"""Encoders: a signal and its validity to tokens, in any length.

Inside an encoder everything is (batch, time, width), and nothing hidden influences anything: what
is invalid is taken out of the signal before the first layer and multiplied out again after every
layer that mixes positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn

PIECE = 65_536
"""Samples of a long signal that are encoded at a time."""


class Tokens(NamedTuple):
    """What an encoder says about a signal, one token for every `stride` samples."""

    values: Tensor
    """(B, T', width); zero where not valid."""
    valid: Tensor
    """(B, T') bool."""


class Encoder(nn.Module, ABC):
    """Signal (B, L, T) and validity to Tokens of `ceil(T / stride)` positions."""

    width: int
    """Values per token."""
    stride: int
    """Samples per token."""
    context: int | None
    """Samples on either side that a token can see; None where it sees everything."""
    profile: tuple[tuple[int, int], ...]
    """Values per token, and samples per token, of each of `layers`."""
    grid: int
    """A piece of a signal that starts at a multiple of this is encoded as it is in the whole."""

    @abstractmethod
    def forward(self, x: Tensor, valid: Tensor) -> Tokens:
        """Encode in one piece."""

    @abstractmethod
    def layers(self, x: Tensor, valid: Tensor) -> list[Tokens]:
        """Encode in one piece: what each layer gives, the last of them what `forward` gives."""

    def pair(self, x: Tensor, valid: Tensor) -> Tokens:
        """Encode two views (2 B, L, T), the second half the other view of the first.

        Encoders may save work where no position is valid in both.
        """
        tokens: Tokens = self(x, valid)
        return tokens

    def pieces(self, x: Tensor, valid: Tensor, length: int = PIECE) -> Iterator[Tokens]:
        """Encode any length in bounded memory: the tokens of the whole, piece by piece.

        Each piece is encoded with as much of its surroundings as its tokens can see, so joining
        the pieces gives the tokens of the signal in one piece.
        """
        for window, keep in overlapping(x.shape[-1], length, self.context, self.grid):
            yield _kept(self(x[..., window], valid[..., window]), keep, self.stride)

    def layered(self, x: Tensor, valid: Tensor, length: int = PIECE) -> Iterator[Sequence[Tokens]]:
        """`layers` of any length, as `pieces` are the encoder's tokens."""
        for window, keep in overlapping(x.shape[-1], length, self.context, self.grid):
            found = self.layers(x[..., window], valid[..., window])
            yield [
                _kept(tokens, keep, stride)
                for tokens, (_, stride) in zip(found, self.profile, strict=True)
            ]


def _kept(tokens: Tokens, keep: slice, stride: int) -> Tokens:
    """The tokens of the samples in `keep`."""
    part = slice(keep.start // stride, keep.stop // stride)
    return Tokens(tokens.values[:, part], tokens.valid[:, part])


def overlapping(
    time: int, length: int, context: int | None, grid: int
) -> Iterator[tuple[slice, slice]]:
    """Cut a long signal: windows to compute, and the part of each that sees all it can see.

    The parts are `length` long and follow one another; windows begin at multiples of `grid` and
    go beyond their part by `context`. Where that is None there is one window.
    """
    if context is None or time <= length:
        yield slice(0, time), slice(0, -(-time // grid) * grid)
        return
    step, halo = max(1, length // grid) * grid, -(-context // grid) * grid
    for start in range(0, time, step):
        left = max(0, start - halo)
        yield slice(left, start + step + halo), slice(start - left, start - left + step)
