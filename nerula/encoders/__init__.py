"""Encoders: a signal and its validity to tokens, in any length.

Inside an encoder everything is (batch, time, width), and nothing hidden influences anything: what
is invalid is taken out of the signal before the first layer and multiplied out again after every
layer that mixes positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn


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
    grid: int
    """A piece of a signal that starts at a multiple of this is encoded as it is in the whole."""

    @abstractmethod
    def forward(self, x: Tensor, valid: Tensor) -> Tokens:
        """Encode in one piece."""

    def pair(self, x: Tensor, valid: Tensor) -> Tokens:
        """Encode two views (2 B, L, T), the second half the other view of the first.

        Encoders may save work where no position is valid in both.
        """
        tokens: Tokens = self(x, valid)
        return tokens

    def pieces(self, x: Tensor, valid: Tensor, length: int = 65_536) -> Iterator[Tokens]:
        """Encode any length in bounded memory: the tokens of the whole, piece by piece.

        Each piece is encoded with as much of its surroundings as its tokens can see, so joining
        the pieces gives the tokens of the signal in one piece.
        """
        time = x.shape[-1]
        if self.context is None or time <= length:
            yield self(x, valid)
            return
        step = max(1, length // self.grid) * self.grid
        halo = -(-self.context // self.grid) * self.grid
        for start in range(0, time, step):
            left = max(0, start - halo)
            window = slice(left, start + step + halo)
            values, seen = self(x[..., window], valid[..., window])
            keep = slice((start - left) // self.stride, (start - left + step) // self.stride)
            yield Tokens(values[:, keep], seen[:, keep])
