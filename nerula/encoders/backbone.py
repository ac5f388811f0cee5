"""Backbone: the encoder that methods are compared on, with what belongs before and behind it."""

from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.nn import functional as F

from nerula.encoders import PIECE, Encoder, Tokens
from nerula.encoders.local import LocalEncoder
from nerula.encoders.pool import learnt, read_out, read_out_size
from nerula.encoders.resnet import ResNet
from nerula.encoders.scale import inputs, scale

ENCODERS = ("resnet", "local")


class Backbone(Encoder):
    """Scaling, an encoder and pooling: from mV to tokens, or to one vector of `dimensions`.

    `resnet` is He's network in one dimension, of `widths`; `local` is NERULA's encoder as it is by
    default. A ResNet knows nothing of masks: what is invalid is zero for it, after the scaling,
    and zero again after each of its blocks. With `norm="batch"`, the original, hidden stretches
    still weigh in the statistics of a batch, as zeros; with `norm="position"` they do not.

    With `directions` a vector's length is taken out: for a loss that compares nothing but angles,
    and so lets the lengths grow a thousandfold for some recordings.
    """

    def __init__(
        self,
        *,
        encoder: str,
        widths: Sequence[int],
        norm: str,
        pooling: str,
        normalise: str,
        unit: float,
        leads: int,
        directions: bool = False,
    ) -> None:
        super().__init__()
        self.pooling, self.normalise, self.unit = pooling, normalise, unit
        self.directions = directions
        self.encoder: Encoder
        if encoder == "local":
            self.encoder = LocalEncoder(leads=inputs(leads, normalise))
        else:
            self.encoder = ResNet(leads=inputs(leads, normalise), widths=widths, norm=norm)
        self.width, self.stride = self.encoder.width, self.encoder.stride
        self.context, self.grid = self.encoder.context, self.encoder.grid
        self.profile = self.encoder.profile
        self.dimensions = read_out_size(self, pooling)

    def forward(self, x: Tensor, valid: Tensor) -> Tokens:
        """Encode (B, L, T) in mV in one piece."""
        scaled = scale(x, valid, self.normalise, self.unit)
        tokens: Tokens = self.encoder(scaled.x, scaled.visible)
        return tokens

    def layers(self, x: Tensor, valid: Tensor) -> list[Tokens]:
        """Encode (B, L, T) in mV in one piece, layer by layer."""
        scaled = scale(x, valid, self.normalise, self.unit)
        return self.encoder.layers(scaled.x, scaled.visible)

    def pieces(self, x: Tensor, valid: Tensor, length: int = PIECE) -> Iterator[Tokens]:
        """Encode any length, scaled as a whole, in bounded memory."""
        scaled = scale(x, valid, self.normalise, self.unit)
        return self.encoder.pieces(scaled.x, scaled.visible, length)

    def layered(self, x: Tensor, valid: Tensor, length: int = PIECE) -> Iterator[Sequence[Tokens]]:
        """Encode any length layer by layer, scaled as a whole, in bounded memory."""
        scaled = scale(x, valid, self.normalise, self.unit)
        return self.encoder.layered(scaled.x, scaled.visible, length)

    def pooled(self, x: Tensor, valid: Tensor) -> Tensor:
        """One vector for each signal of any length: (B, dimensions)."""
        return self._read_out(x, valid, self.pooling)

    def watched(self, x: Tensor, valid: Tensor) -> Tensor:
        """The tokens alone: earlier layers would hide that they are all the same."""
        return self._read_out(x, valid, learnt(self.pooling))

    def _read_out(self, x: Tensor, valid: Tensor, pooling: str) -> Tensor:
        z = read_out(self, x, valid, pooling)
        return F.normalize(z, dim=-1) if self.directions else z
